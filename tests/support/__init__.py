"""Helpers for tests of whole stacks."""
