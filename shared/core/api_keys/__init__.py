"""API keys as the database holds them."""
