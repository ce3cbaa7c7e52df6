"""Rows, participants and heartbeats, with defaults for everything that a test doesn't care about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from livekit.protocol.models import ParticipantInfo

from shared.contracts.identifiers import new_id
from shared.contracts.keys import ATTEMPT_ATTRIBUTE, LIVEKIT_AGENT_NAME_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.contracts.sessions import Mode, SessionStatus
from shared.contracts.workers import WorkerHeartbeat
from shared.core.sessions.tables import AttemptRow, SessionRow

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock that a test moves by hand."""

    def __init__(self, start: datetime = T0) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)


def make_session(**changes: Any) -> SessionRow:
    session_id = changes.pop("id", None) or new_id()
    values: dict[str, Any] = {
        "id": session_id,
        "status": SessionStatus.REQUESTED,
        "room_name": f"room-{session_id[-12:]}",
        "agent_name": "agent",
        "mode": Mode.PIPELINE,
        "participant_identity": "caller-1",
        "max_attempts": 3,
        "requested_at": T0,
        "deadline_at": T0 + timedelta(seconds=15),
        **changes,
    }
    return SessionRow(**values)


def make_attempt(row: SessionRow, **changes: Any) -> AttemptRow:
    values: dict[str, Any] = {"session_id": row.id, "number": row.attempt, "started_at": T0, **changes}
    return AttemptRow(**values)


def make_heartbeat(worker_id: str = "worker-1", **changes: Any) -> WorkerHeartbeat:
    values: dict[str, Any] = {
        "worker_id": worker_id,
        "agent_name": "agent",
        "host": "host-1",
        "pid": 1,
        "version": "livekit-agents/1.8.9",
        "livekit_url": "ws://127.0.0.1:7880",
        "load": 0.0,
        "active_jobs": 0,
        "max_jobs": 10,
        "started_at": T0,
        "beat_at": T0,
        **changes,
    }
    return WorkerHeartbeat(**values)


def make_agent(
    identity: str = "agent-AJ_1",
    *,
    name: str = "agent",
    session_id: str | None = None,
    attempt: int | None = None,
    state: ParticipantInfo.State = ParticipantInfo.State.ACTIVE,
    attributes: Mapping[str, str] | None = None,
) -> ParticipantInfo:
    """An agent as LiveKit lists it; `session_id` and `attempt` are what our own workers add."""
    shown = {**(attributes or {}), LIVEKIT_AGENT_NAME_ATTRIBUTE: name}
    if session_id is not None:
        shown[SESSION_ATTRIBUTE] = session_id
    if attempt is not None:
        shown[ATTEMPT_ATTRIBUTE] = str(attempt)
    return ParticipantInfo(
        sid=f"PA_{identity}",
        identity=identity,
        kind=ParticipantInfo.Kind.AGENT,
        state=state,
        attributes=shown,
    )


def make_caller(identity: str = "caller-1", **changes: Any) -> ParticipantInfo:
    values: dict[str, Any] = {
        "sid": f"PA_{identity}",
        "identity": identity,
        "kind": ParticipantInfo.Kind.STANDARD,
        "state": ParticipantInfo.State.ACTIVE,
        **changes,
    }
    return ParticipantInfo(**values)
