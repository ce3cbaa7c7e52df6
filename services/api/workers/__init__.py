"""The agent workers over HTTP."""
