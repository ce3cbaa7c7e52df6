"""Old module paths of commands, for deployments that still use them. Nothing imports this package."""
