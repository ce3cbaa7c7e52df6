"""Transcripts over HTTP: read, search, export and erase what was said."""
