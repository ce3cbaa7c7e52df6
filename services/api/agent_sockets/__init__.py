"""WebSockets for agent workers and their jobs that reach Rollcall over the API alone."""
