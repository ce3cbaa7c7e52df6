"""What the transcript consumer counts. The streams it reads are gauged by `shared.runtime.stream_upkeep`."""

from prometheus_client import Counter, Histogram

_STORED = Counter("transcript_turns_stored_total", "Turns written to the database.")
_DUPLICATES = Counter("transcript_duplicates_total", "Turns that were stored already.")
_CONFLICTS = Counter(
    "transcript_conflicts_total", "Turns whose number another turn of the session bears too; all are kept."
)
_GAPS = Counter("transcript_gaps_total", "Turns that were stored before the turn in front of them.")
_DEAD_LETTERS = Counter("transcript_dead_lettered_total", "Entries set aside.", ["reason"])
_UNAVAILABLE = Counter("transcript_database_retries_total", "Batches that the database had no answer to.")
_LAG = Histogram(
    "transcript_lag_seconds",
    "From the end of a turn until it is committed.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
_BATCH_TURNS = Histogram(
    "transcript_batch_turns", "Turns in a batch.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
)
_BATCH_SECONDS = Histogram(
    "transcript_batch_seconds",
    "From a batch's admission until it is acknowledged.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)


def turns_stored(new: int, duplicates: int) -> None:
    """Turns were committed."""
    _STORED.inc(new)
    _DUPLICATES.inc(duplicates)


def turn_lagged(seconds: float) -> None:
    """A turn was committed so long after it was published."""
    _LAG.observe(seconds)


def batch_settled(turns: int, seconds: float) -> None:
    """A batch is stored and acknowledged."""
    _BATCH_TURNS.observe(turns)
    _BATCH_SECONDS.observe(seconds)


def oddities_seen(*, conflicts: int, gaps: int) -> None:
    """Stored turns don't fit among the others."""
    _CONFLICTS.inc(conflicts)
    _GAPS.inc(gaps)


def database_retried() -> None:
    """The database didn't answer; the batch is tried again."""
    _UNAVAILABLE.inc()


def dead_lettered(reason: str) -> None:
    """An entry could not be stored, ever."""
    _DEAD_LETTERS.labels(reason).inc()
