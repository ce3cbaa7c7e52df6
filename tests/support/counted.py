"""What this process's metrics have counted."""

from prometheus_client import REGISTRY


def write_transactions() -> float:
    """Return how many write transactions this process has ended."""
    return REGISTRY.get_sample_value("database_session_seconds_count", {"kind": "write"}) or 0.0


def reads() -> float:
    """Return how many reading sessions of the database this process has ended."""
    return REGISTRY.get_sample_value("database_session_seconds_count", {"kind": "read"}) or 0.0
