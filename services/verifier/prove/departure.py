"""Distinguish an agent that left on purpose from one that was lost.

An agent that left on purpose is never replaced. For a worker that reports to us, its last report decides. For
any other worker, LiveKit's reason decides. An agent that leaves on purpose says goodbye. One whose entrypoint
raises does too, because the SDK sends the same reason. They differ only in how far the agent had come: an
agent that was never ready, and said goodbye within `AT_ONCE` of its arrival, has failed at its start.

Only a webhook of LiveKit says how an agent left. If no webhooks come, an agent that is gone counts as lost.
"""

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from services.verifier.prove.disconnect_reason import GOODBYE
from services.verifier.prove.find_cause import Finding, cause_of_leaving, fatal_error, reported_error
from shared.core.sessions.tables import AttemptRow

# Reasons of an agent that ends by itself: livekit-agents' CloseReason, a room that its own code has left, or
# the end of a job without an agent session.
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
# Measured with livekit-agents 1.8.9: an agent whose entrypoint raises after connect() is gone about 10 ms
# later.
AT_ONCE: Final = timedelta(milliseconds=250)
# The webhook with LiveKit's reason, and the agent's own last report, may come this much later than it leaves.
LAST_WORDS: Final = timedelta(seconds=2)


class Departure(Enum):
    """The kind of an agent's end."""

    MEANT = auto()
    LOSS = auto()
    UNTOLD = auto()  # a webhook or a report about it may still come


def judge_departure(attempt: AttemptRow, now: datetime) -> Departure:
    """Judge the end of an agent that is no longer in the room."""
    if attempt.close_reason is not None or attempt.closed_at is not None:
        meant = attempt.closed_in_order or attempt.close_reason in NORMAL_ENDS
        return Departure.MEANT if meant else Departure.LOSS
    if fatal_error(attempt) is not None:
        return Departure.LOSS
    waits = attempt.left_at is None or now - attempt.left_at < LAST_WORDS
    if attempt.left_reason is None:
        # If a webhook of LiveKit reported its arrival, another one will report how it left.
        return Departure.UNTOLD if attempt.arrived_at is not None and waits else Departure.LOSS
    if attempt.left_reason != GOODBYE:
        return Departure.LOSS
    if attempt.reported_at is not None and waits:
        return Departure.UNTOLD
    return Departure.MEANT if has_begun(attempt) else Departure.LOSS


def has_begun(attempt: AttemptRow) -> bool:
    """Return False if the agent left before it can have done anything."""
    came = attempt.arrived_at or attempt.active_at
    if attempt.ready_at is not None or came is None or attempt.left_at is None:
        return True
    return attempt.left_at - came >= AT_ONCE


def said_goodbye(attempt: AttemptRow) -> bool:
    """Return whether the agent of a worker that doesn't report to us left on purpose."""
    return attempt.reported_at is None and attempt.left_reason == GOODBYE and has_begun(attempt)


def why_gone(attempt: AttemptRow) -> Finding:
    """Return the cause of a loss, and its evidence: the worker's own report, or LiveKit's reason."""
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
