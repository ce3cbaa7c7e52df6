"""Stored conversations: which turns are stored, in which order they are read, and what was erased."""
