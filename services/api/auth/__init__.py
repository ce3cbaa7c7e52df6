"""Who asks, and what the caller may do: API keys, scopes, and refusing those who guess."""
