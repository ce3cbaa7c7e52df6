"""Follow a session while it happens: server-sent events, and the answer to `Prefer: wait`."""
