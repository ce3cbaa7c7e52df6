"""Tell an agent's end that was meant from a loss.

An end that was meant is never revived. What tells: the last words of a worker that reports to us; of any
other, how LiveKit says that the agent left. An agent that says goodbye meant it, and so does one whose
entrypoint raises, in the SDK's words: the two differ only in how far the agent had come. One that was never
ready, and said goodbye within `AT_ONCE` of its arrival, has failed at its start.

LiveKit says how an agent left in a webhook alone. Where none comes, an agent that is gone is a loss.
"""

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from services.verifier.prove.disconnect_reason import GOODBYE
from services.verifier.prove.find_cause import Finding, cause_of_leaving, fatal_error, reported_error
from shared.core.sessions.tables import AttemptRow

# Why an agent ends of its own accord: livekit-agents' CloseReason; a room that its own code has left; or the
# end of a job that had no agent session.
NORMAL_ENDS: Final = frozenset(
    {
        "participant_disconnected",
        "user_initiated",
        "task_completed",
        "job_shutdown",
        "client_initiated",
        "shutdown",
    }
)
# Measured with livekit-agents 1.8.9: an entrypoint that raises after connect() is gone some 10 ms later.
AT_ONCE: Final = timedelta(milliseconds=250)
# The webhook that says how the agent left, or its own last words, may come this much later than it leaves.
LAST_WORDS: Final = timedelta(seconds=2)


class Departure(Enum):
    """What the end of an agent was."""

    MEANT = auto()
    LOSS = auto()
    UNTOLD = auto()  # a word about it may still come


def judge_departure(attempt: AttemptRow, now: datetime) -> Departure:
    """Judge the end of an agent that is not in the room any more."""
    if attempt.close_reason is not None or attempt.closed_at is not None:
        return Departure.MEANT if attempt.close_reason in NORMAL_ENDS else Departure.LOSS
    if fatal_error(attempt) is not None:
        return Departure.LOSS
    waits = attempt.left_at is None or now - attempt.left_at < LAST_WORDS
    if attempt.left_reason is None:
        # Where LiveKit's webhook told that it came, another will tell how it left.
        return Departure.UNTOLD if attempt.arrived_at is not None and waits else Departure.LOSS
    if attempt.left_reason != GOODBYE:
        return Departure.LOSS
    if attempt.reported_at is not None and waits:
        return Departure.UNTOLD
    return Departure.MEANT if has_begun(attempt) else Departure.LOSS


def has_begun(attempt: AttemptRow) -> bool:
    """False of an agent that has left before it can have done anything."""
    came = attempt.arrived_at or attempt.active_at
    if attempt.ready_at is not None or came is None or attempt.left_at is None:
        return True
    return attempt.left_at - came >= AT_ONCE


def said_goodbye(attempt: AttemptRow) -> bool:
    """True if the agent of a worker that doesn't report to us left as it meant to."""
    return attempt.reported_at is None and attempt.left_reason == GOODBYE and has_begun(attempt)


def why_gone(attempt: AttemptRow) -> Finding:
    """The cause of a loss, and the evidence: the worker's own words, or how LiveKit says that it left."""
    evidence: dict[str, Any] = {
        "participant_identity": attempt.participant_identity,
        "worker_id": attempt.worker_id,
        "job_id": attempt.job_id,
    }
    finding = reported_error(attempt)
    if finding is not None:
        cause, error = finding
        return cause, {**evidence, **error}
    reason = attempt.close_reason or attempt.left_reason
    if reason is not None:
        evidence["reason"] = reason
    told = None if attempt.closed_at is not None else attempt.left_reason
    return cause_of_leaving(told), evidence
