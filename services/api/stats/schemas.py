"""The JSON of /v1/stats and /v1/causes."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from shared.contracts.causes import Cause
from shared.contracts.sessions import Level, SessionStatus


class CauseGroup(BaseModel):
    """The sessions of one agent name that failed with the same cause, and the newest of them as a sample."""

    cause: Cause
    agent_name: str
    sessions: int
    first_at: datetime
    last_at: datetime
    advice: str
    sample_session_id: str
    sample_evidence: dict[str, Any]


class Causes(BaseModel):
    """Why sessions got no agent, or lost it without a replacement: the most frequent causes first."""

    since: datetime
    until: datetime
    causes: list[CauseGroup]


class LevelTimes(BaseModel):
    """How long the sessions took from the request to a level, in milliseconds, and how many reached it."""

    sessions: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class Bucket(BaseModel):
    """The sessions that were requested in one part of the time."""

    start: datetime
    sessions: int
    joined: int
    failed: int


class Stats(BaseModel):
    """Statistics of the sessions that were requested from `since` on and before `until`.

    `join_ratio` is the share of those with an agent among those that have got one or have failed; null
    where there are none. Canaries and reservations that nobody used do not count.
    """

    since: datetime
    until: datetime
    sessions: int
    complete: bool = Field(description="false: there were more sessions, and these are the newest")
    by_status: dict[SessionStatus, int]
    by_cause: dict[Cause, int]
    join_ratio: float | None
    attempts: int = Field(description="dispatch attempts of all these sessions")
    revivals: int = Field(description="agents that took over from a lost one")
    levels: dict[Level, LevelTimes]
    buckets: list[Bucket]
