"""Turns on this host's disk, until the database has them."""
