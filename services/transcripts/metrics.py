"""The metrics of the transcript consumer. `stream_upkeep` gauges the streams that it reads."""

import math
from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Histogram

from services.transcripts.admit import Reason

_STORED = Counter("transcript_turns_stored_total", "Turns written to the database.")
_DUPLICATES = Counter("transcript_duplicates_total", "Turns that were stored already.")
_CONFLICTS = Counter(
    "transcript_conflicts_total", "Turns with the same number as another turn of the session; all are kept."
)
_GAPS = Counter(
    "transcript_gaps_total",
    "Turns that were stored before the turn with the previous number; the first of an attempt has none.",
)
_DEAD_LETTERS = Counter("transcript_dead_lettered_total", "Entries set aside.", ["reason"])
_UNAVAILABLE = Counter("transcript_database_retries_total", "Batches that the database did not answer.")
_LAG = Histogram(
    "transcript_lag_seconds",
    "Time from the end of a turn until it is committed.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
_LATENCY = Histogram(
    "turn_latency_seconds",
    "Per turn, each once: end of speech to its transcript (transcription) and to the end of the turn"
    " (end_of_turn); the model's first token (llm_ttft); the first audio (tts_ttfb); end of the user's speech"
    " to the answer being heard (e2e).",
    ["stage"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 20),
)
# By the names of livekit-agents' `ChatMessage.metrics`.
_STAGES: Final = {
    "transcription_delay": "transcription",
    "end_of_turn_delay": "end_of_turn",
    "llm_node_ttft": "llm_ttft",
    "tts_node_ttfb": "tts_ttfb",
    "e2e_latency": "e2e",
}
_BATCH_TURNS = Histogram(
    "transcript_batch_turns",
    "Number of turns in a batch.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500),
)
_BATCH_SECONDS = Histogram(
    "transcript_batch_seconds",
    "Time from a batch's admission until it is acknowledged.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)


for _stage in _STAGES.values():
    _LATENCY.labels(_stage)
for _reason in Reason:
    _DEAD_LETTERS.labels(_reason)


def turns_stored(new: int, duplicates: int) -> None:
    """Count committed turns."""
    _STORED.inc(new)
    _DUPLICATES.inc(duplicates)


def turn_lagged(seconds: float) -> None:
    """Observe how long after its publication a turn was committed."""
    _LAG.observe(seconds)


def turn_measured(latencies: Mapping[str, float]) -> None:
    """Observe the latencies that the agent measured for a turn."""
    for name, stage in _STAGES.items():
        seconds = latencies.get(name)
        if seconds is not None and 0 <= seconds < math.inf:
            _LATENCY.labels(stage).observe(seconds)


def batch_settled(turns: int, seconds: float) -> None:
    """Observe a batch that is stored and acknowledged."""
    _BATCH_TURNS.observe(turns)
    _BATCH_SECONDS.observe(seconds)


def oddities_seen(*, conflicts: int, gaps: int) -> None:
    """Count stored turns that don't fit among the others."""
    _CONFLICTS.inc(conflicts)
    _GAPS.inc(gaps)


def database_retried() -> None:
    """Count a batch that is tried again because the database didn't answer."""
    _UNAVAILABLE.inc()


def dead_lettered(reason: str) -> None:
    """Count an entry that can never be stored."""
    _DEAD_LETTERS.labels(reason).inc()
