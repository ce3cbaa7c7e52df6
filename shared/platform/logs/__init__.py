"""Structured logs: one event a line, as JSON or for people."""
