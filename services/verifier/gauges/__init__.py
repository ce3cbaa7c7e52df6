"""Measure what belongs to no single process."""
