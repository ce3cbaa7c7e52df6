"""The states of a session, and the only transitions between them."""

from enum import StrEnum
from typing import Final

from shared.contracts.keys import CLOSE_TASK, DISPATCH_TASK, VERIFY_TASK


class SessionStatus(StrEnum):
    """The status of a session. A session never leaves a `TERMINAL` status."""

    RESERVED = "reserved"  # a client has a token; nothing is dispatched until the caller joins
    REQUESTED = "requested"  # an agent is wanted; no dispatcher has claimed it yet
    DISPATCHING = "dispatching"  # a dispatcher is calling LiveKit, or waits to try again
    DISPATCHED = "dispatched"  # LiveKit took the dispatch, which does not prove that an agent comes
    ACTIVE = "active"  # the agent was seen ACTIVE in the room
    ENDED = "ended"  # the conversation is over
    FAILED = "failed"  # no agent came; the cause says why
    CANCELLED = "cancelled"  # ended by request before an agent was in the room
    EXPIRED = "expired"  # a reservation that nobody used


_S = SessionStatus

# The reason of an end that a client requested.
ENDED_BY_REQUEST: Final = "ended by request"

TERMINAL: Final = frozenset({_S.ENDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED})
LIVE: Final = frozenset(_S) - TERMINAL

ALLOWED_TRANSITIONS: Final[dict[SessionStatus, frozenset[SessionStatus]]] = {
    _S.RESERVED: frozenset({_S.REQUESTED, _S.CANCELLED, _S.EXPIRED}),
    _S.REQUESTED: frozenset({_S.DISPATCHING, _S.FAILED, _S.CANCELLED}),
    _S.DISPATCHING: frozenset({_S.DISPATCHED, _S.ACTIVE, _S.FAILED, _S.CANCELLED}),
    _S.DISPATCHED: frozenset({_S.DISPATCHING, _S.ACTIVE, _S.FAILED, _S.CANCELLED}),
    _S.ACTIVE: frozenset({_S.DISPATCHING, _S.ENDED, _S.FAILED}),
    **{status: frozenset() for status in TERMINAL},
}


class Work(StrEnum):
    """What carries a session on."""

    DISPATCH = "dispatch"  # get a worker to take it
    VERIFY = "verify"  # prove that its agent joined, or find out why not
    WATCH = "watch"  # see that its agent stays
    CLOSE = "close"  # take out of LiveKit what is left of it


# What is to be done for a session in each status.
NEXT_WORK: Final[dict[SessionStatus, Work | None]] = {
    _S.RESERVED: None,  # its caller carries it on: LiveKit's webhook, or the verifier's look at the room
    _S.REQUESTED: Work.DISPATCH,
    _S.DISPATCHING: Work.DISPATCH,
    _S.DISPATCHED: Work.VERIFY,
    _S.ACTIVE: Work.WATCH,
    **dict.fromkeys(TERMINAL, Work.CLOSE),
}
_TASKS: Final = {
    Work.DISPATCH: DISPATCH_TASK,
    Work.VERIFY: VERIFY_TASK,
    Work.WATCH: VERIFY_TASK,
    Work.CLOSE: CLOSE_TASK,
}
# The task that does it. The outbox enqueues it with the event that leads to the status, and the sweep when
# the session is due. The task reads from the row what to do.
NEXT_TASK: Final[dict[SessionStatus, str | None]] = {
    status: None if work is None else _TASKS[work] for status, work in NEXT_WORK.items()
}
# An agent is wanted, and LiveKit has not accepted a dispatch yet.
UNDISPATCHED: Final = tuple(status for status, work in NEXT_WORK.items() if work is Work.DISPATCH)


class InvalidTransition(Exception):
    """The transition table forbids this change of status. That is a bug in the calling code, not a race."""

    def __init__(self, current: SessionStatus, wanted: SessionStatus) -> None:
        super().__init__(f"a session can't go from {current} to {wanted}")
        self.current = current
        self.wanted = wanted


def check_transition(current: SessionStatus, wanted: SessionStatus) -> None:
    """Raise `InvalidTransition` unless the table has the edge from `current` to `wanted`."""
    if wanted not in ALLOWED_TRANSITIONS[current]:
        raise InvalidTransition(current, wanted)


class Level(StrEnum):
    """How much of the join is proven, in increasing order."""

    ACCEPTED = "accepted"  # LiveKit took the dispatch, which proves nothing
    ASSIGNED = "assigned"  # a worker took the job
    ACTIVE = "active"  # the agent is in the room, its media connected
    READY = "ready"  # the agent listens
    FIRST_SPEECH = "first_speech"  # the agent has begun to speak


class Mode(StrEnum):
    """How the agent listens and speaks."""

    PIPELINE = "pipeline"  # speech to text, language model, text to speech
    REALTIME = "realtime"  # one speech-to-speech model; only when asked for by name

    @classmethod
    def _missing_(cls, value: object) -> "Mode | None":
        # Existing clients send the older name of this mode.
        return cls.PIPELINE if value == "hybrid" else None


class Role(StrEnum):
    """Who speaks in a turn. A turn of `system` is not spoken: it holds the agent's instructions."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"
