"""Authentication: API keys, their scopes, and protection against guessing."""
