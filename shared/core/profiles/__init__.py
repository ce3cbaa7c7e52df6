"""Profiles of agent names in the database, each in versions that never change."""
