"""Follow a session while it happens, by server-sent events."""
