"""What this deployment is set to, as far as users of the API may know it."""
