"""Celery as Rollcall uses it, and what keeps its consumer alive."""
