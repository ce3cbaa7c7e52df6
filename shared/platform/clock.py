"""The time as a function that is passed to those who need it, so that tests can control it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC, with its zone."""
    return datetime.now(UTC)
