"""Webhooks out: their tables, their secrets, and where they may go."""
