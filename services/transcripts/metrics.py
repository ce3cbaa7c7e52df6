"""What the transcript consumer counts."""

from prometheus_client import Counter, Histogram

_STORED = Counter("transcript_turns_stored_total", "Turns written to the database.")
_DUPLICATES = Counter("transcript_duplicates_total", "Turns that were stored already.")
_DEAD_LETTERS = Counter("transcript_dead_lettered_total", "Entries set aside.", ["reason"])
_LAG = Histogram(
    "transcript_lag_seconds",
    "From the end of a turn until it is committed.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)


def turns_stored(new: int, duplicates: int) -> None:
    """A batch was committed."""
    _STORED.inc(new)
    _DUPLICATES.inc(duplicates)


def turn_lagged(seconds: float) -> None:
    """A turn was committed so long after it was published."""
    _LAG.observe(seconds)


def dead_lettered(reason: str) -> None:
    """An entry could not be stored, ever."""
    _DEAD_LETTERS.labels(reason).inc()
