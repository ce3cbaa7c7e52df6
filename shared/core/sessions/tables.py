"""The tables of sessions: the session, its attempts, its events, and the keys of repeated requests.

The database holds the truth; everything in Redis can be rebuilt from it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Row, Text, text
from sqlmodel import Field, SQLModel

from shared.contracts.events import Envelope, Severity
from shared.contracts.identifiers import EventId
from shared.contracts.sessions import LIVE, Level
from shared.platform.database.columns import UtcDateTime, json_type

# The `source` of session events, whichever process publishes them.
EVENT_SOURCE = "rollcall"

_LIVE_STATUSES = text(f"status IN ({', '.join(repr(str(status)) for status in sorted(LIVE))})")
_WAITING = text("waiting_for IS NOT NULL")
_CAUSED = text("cause IS NOT NULL")
# Exactly as SQLAlchemy writes `is_(True)`; otherwise SQLite does not use the index.
_CANARY, _CANARY_IN_SQLITE = text("canary IS true"), text("canary IS 1")
_RESERVED = text("status = 'reserved'")
_DUE = text("next_check_at IS NOT NULL")
_TRANSCRIPT_KEPT = text("transcript_deleted_at IS NULL AND ended_at IS NOT NULL")
_ENDED = text("ended_at IS NOT NULL")
_EXPIRED = text("status = 'expired'")
_TO_ERASE_AGAIN = text("transcript_erase_again_at IS NOT NULL")
_UNPUBLISHED = text("published_at IS NULL")
_OF_FOREIGN_AGENT = text("type = 'agent.foreign_seen.v1'")


class SessionRow(SQLModel, table=True):
    """A session. Compare `version`, not `status`, before a change: a session can return to a status.

    At `next_check_at`, the sweep enqueues the session again. Until `claimed_until`, a task works on the
    session, and other tasks leave it alone. A waiting session has a `waiting_for`, and is claimed until its
    deadline unless it may go on sooner. From `transcript_erased_at` on, no text of its turns is stored, and
    from `transcript_deleted_at` on, no turn. Reservations have no `next_check_at`: a reservation expires at
    `deadline_at`, and `requested_at` becomes the time when its caller joins. `caller_left_at` is since when
    the room of an active session has no caller. `profile_version` is that of the agent name's stored profile
    when the agent was asked for; null if none was stored. `traceparent` is where the session's trace begins.
    """

    __tablename__ = "session"
    __table_args__ = (
        Index("ix_session_project_id", "project", "id"),
        Index("ix_session_project_requested", "project", "requested_at"),
        Index(
            "ix_session_project_cause",
            "project",
            "cause",
            "id",
            postgresql_where=_CAUSED,
            sqlite_where=_CAUSED,
        ),
        Index("ix_session_agent", "agent_name", "id"),
        Index("ix_session_due", "next_check_at", postgresql_where=_DUE, sqlite_where=_DUE),
        Index(
            "ix_session_waiting",
            "agent_name",
            "requested_at",
            "id",
            postgresql_where=_WAITING,
            sqlite_where=_WAITING,
        ),
        Index(
            "ix_session_reserved",
            "deadline_at",
            "id",
            postgresql_where=_RESERVED,
            sqlite_where=_RESERVED,
        ),
        Index("ix_session_room", "room_name", "id"),
        Index(
            "ix_session_canary",
            "agent_name",
            "id",
            postgresql_where=_CANARY,
            sqlite_where=_CANARY_IN_SQLITE,
        ),
        Index("ix_session_participant", "participant_identity"),
        Index(
            "ix_session_transcript_kept",
            "ended_at",
            postgresql_where=_TRANSCRIPT_KEPT,
            sqlite_where=_TRANSCRIPT_KEPT,
        ),
        Index("ix_session_ended", "ended_at", postgresql_where=_ENDED, sqlite_where=_ENDED),
        Index("ix_session_expired", "ended_at", postgresql_where=_EXPIRED, sqlite_where=_EXPIRED),
        Index(
            "ix_session_erase_again",
            "transcript_erase_again_at",
            postgresql_where=_TO_ERASE_AGAIN,
            sqlite_where=_TO_ERASE_AGAIN,
        ),
        Index(
            "uq_session_live_room",
            "project",
            "room_name",
            unique=True,
            postgresql_where=_LIVE_STATUSES,
            sqlite_where=_LIVE_STATUSES,
        ),
    )

    id: str = Field(primary_key=True)
    project: str = "default"
    api_key_id: str | None = None
    status: str
    version: int = 1
    last_sequence: int = 0
    room_name: str
    room_is_ours: bool = True
    room_sid: str | None = None
    agent_name: str
    deployment: str | None = None
    profile_version: int | None = None
    mode: str
    models: dict[str, Any] = Field(default_factory=dict, sa_column=Column(json_type(), nullable=False))
    instructions: str | None = Field(default=None, sa_type=Text)
    client_metadata: dict[str, Any] | str = Field(
        default_factory=dict, sa_column=Column("metadata", json_type(), nullable=False)
    )
    participant_identity: str
    participant_name: str | None = None
    attempt: int = 0
    max_attempts: int
    required_level: str = Level.ACTIVE
    canary: bool = False
    revivals: int = 0
    waiting_for: str | None = None
    cause: str | None = None
    evidence: dict[str, Any] | None = Field(default=None, sa_column=Column(json_type()))
    end_reason: str | None = None
    agent_identity: str | None = None
    agent_sid: str | None = None
    requested_at: datetime = Field(sa_type=UtcDateTime)
    deadline_at: datetime = Field(sa_type=UtcDateTime)
    next_check_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    caller_joined_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    caller_left_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    accepted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    assigned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    active_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ready_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_speech_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    transcript_erased_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    transcript_erase_again_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    transcript_deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    traceparent: str | None = None

    @property
    def pool(self) -> str:
        """LiveKit's deployment that the session is dispatched to; empty is the one without a name."""
        return self.deployment or ""


class AttemptRow(SQLModel, table=True):
    """One attempt to get an agent, and what LiveKit, the worker and the room showed of it.

    The turns of its agent are numbered from `first_seq`. `expected_turns` is their number, from the agent's
    closing report or its worker's count after the agent's death; it is null while unknown. `reported_at` is
    null while no worker has reported that it took the job; mostly that is a worker that doesn't report to us.
    `arrived_at` and `left_reason` (livekit.DisconnectReason, in lower case) come from LiveKit's webhooks
    about its agent. `left_at` is the time of that webhook, or else when the agent was first missing from the
    room.
    `chosen_worker_id` is the worker that the dispatcher chose, and `address` its address at LiveKit; both are
    null where LiveKit chose. `worker_id` is the worker that took the job. `closed_in_order`: the agent's own
    code has ended the job because it was done, for a `close_reason` of its own. `deployment` is the session's
    pool at the time of the attempt.
    """

    __tablename__ = "dispatch_attempt"

    session_id: str = Field(sa_column=Column(ForeignKey("session.id"), primary_key=True))
    number: int = Field(primary_key=True)
    outcome: str | None = None
    first_seq: int = 1
    expected_turns: int | None = None
    dispatch_id: str | None = None
    job_id: str | None = None
    worker_id: str | None = None
    chosen_worker_id: str | None = None
    address: str | None = None
    deployment: str | None = None
    participant_identity: str | None = None
    participant_sid: str | None = None
    cause: str | None = None
    evidence: dict[str, Any] | None = Field(default=None, sa_column=Column(json_type()))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(json_type()))
    close_reason: str | None = None
    closed_in_order: bool | None = None
    started_at: datetime = Field(sa_type=UtcDateTime)
    accepted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    assigned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rejected_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    entrypoint_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    connected_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    active_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ready_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_speech_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reported_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    arrived_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    left_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    left_reason: str | None = None
    counted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class EventRow(SQLModel, table=True):
    """An event of a session: part of its history and, until `published_at` is set, of the outbox."""

    __tablename__ = "session_event"
    __table_args__ = (
        Index(
            "ix_session_event_unpublished",
            "id",
            postgresql_where=_UNPUBLISHED,
            sqlite_where=_UNPUBLISHED,
        ),
        Index(
            "ix_session_event_foreign_agent",
            "id",
            postgresql_where=_OF_FOREIGN_AGENT,
            sqlite_where=_OF_FOREIGN_AGENT,
        ),
    )

    session_id: str = Field(sa_column=Column(ForeignKey("session.id"), primary_key=True))
    sequence: int = Field(primary_key=True)
    id: str = Field(unique=True)
    type: str
    severity: str
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(json_type(), nullable=False))
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    published_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    traceparent: str | None = None

    def envelope(self) -> Envelope:
        """Return the event's envelope."""
        return envelope_of(self)


def envelope_of(row: "EventRow | Row[Any]") -> Envelope:
    """Return the envelope of an event; raises `ValueError` if it can't be written as one."""
    return Envelope(
        id=EventId(row.id),
        source=EVENT_SOURCE,
        type=row.type,
        subject=f"session/{row.session_id}",
        time=row.occurred_at,
        severity=Severity(row.severity),
        sequence=row.sequence,
        traceparent=row.traceparent,
        data=row.data,
    )


class IdempotencyKeyRow(SQLModel, table=True):
    """An Idempotency-Key of a client's request, and the answer.

    It is written in the same transaction as its session. Until `running_until`, the first request is being
    answered. `status` and `answer` are its answer, without the token. A `status` without an `answer` belongs
    to a plain start, whose answer is read from the session.
    """

    __tablename__ = "idempotency_key"

    project: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    session_id: str
    running_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    status: int | None = None
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(json_type()))
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
