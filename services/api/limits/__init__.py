"""Limits for callers: requests a minute, sessions at the same time, and reads at the same time."""
