"""Erase what was said, on request or when its time is over."""
