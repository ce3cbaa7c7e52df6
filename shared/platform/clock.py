"""The time, passed around as a function so that a test can hold it still."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC, with its zone."""
    return datetime.now(UTC)
