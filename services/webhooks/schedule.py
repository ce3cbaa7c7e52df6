"""Decide when to try a delivery again."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

# The pauses after the first attempt, the second, and so on; a day in all.
DELAYS_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000)
# The longest pause that an endpoint may ask for; after that, its events would be of no use.
MAX_RETRY_AFTER: Final = timedelta(hours=10)
_SPREAD: Final = 0.2

Jitter = Callable[[], float]


def some_jitter() -> float:
    """Return a factor around 1, so that deliveries that failed together are not tried again together."""
    return random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311


def next_attempt(
    attempts: int, *, now: datetime, not_before: datetime | None, jitter: Jitter
) -> datetime | None:
    """Return when to try again after this many attempts; None if there are no more."""
    if attempts > len(DELAYS_S):
        return None
    planned = now + timedelta(seconds=DELAYS_S[attempts - 1] * jitter())
    return planned if not_before is None else max(planned, not_before)


def read_retry_after(value: str | None, *, now: datetime) -> datetime | None:
    """Return the time before which the endpoint wants no more, from its header.

    None if the header is unusable.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        wanted = now + timedelta(seconds=int(text)) if text.isdecimal() else parsedate_to_datetime(text)
        wanted = wanted.astimezone(now.tzinfo)
    except (ValueError, OverflowError):
        return None
    return min(wanted, now + MAX_RETRY_AFTER) if wanted > now else None
