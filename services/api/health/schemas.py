"""The JSON of /health/agent."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.contracts.causes import Cause

Status = Literal["pass", "warn", "fail"]
Known = Literal["registered", "proven", "unproven", "unknown"]


class WorkerInfo(BaseModel):
    """The workers that report to Rollcall; null where the registry can't be read."""

    agent_name: str
    registered_workers: int | None
    free_slots: int | None


class Canary(BaseModel):
    """The newest canary with a verdict. `ok`: its agent joined and listened; nobody spoke to it."""

    session_id: str
    at: datetime
    ok: bool
    cause: Cause | None


class FoundCause(BaseModel):
    """Why the next session will fail (`fatal`) or may, since when, and what to do."""

    code: Cause
    fatal: bool
    since: datetime | None
    evidence: dict[str, Any]
    fix: str


class FoundFault(BaseModel):
    """A fault that somebody should see to although the next session gets its agent."""

    code: str
    seen_at: datetime
    evidence: dict[str, Any]
    fix: str


class AgentInShort(BaseModel):
    """One agent's name of the overview."""

    agent_name: str
    status: Status
    known: Known
    summary: str
    registered_workers: int | None
    free_slots: int | None
    last_proven_join: datetime | None
    causes: list[Cause]


class AgentHealth(BaseModel):
    """Would the next session of this agent's name get its agent?

    `known` says how that is known: by a `registered` worker; `proven` by a join within the last day,
    or `unproven` since, of a worker that doesn't report to Rollcall; or not at all (`unknown`).
    """

    agent_status: Literal["livekit_connected", "livekit_disconnected"]
    agent_worker_info: WorkerInfo
    status: Status
    known: Known
    summary: str
    last_proven_join: datetime | None = Field(description="of an agent of this name")
    last_canary: Canary | None
    root_cause: list[FoundCause]
    findings: list[FoundFault]
    agents: list[AgentInShort] | None = Field(description="every name that matters, unless one was asked for")
    look_at: dict[str, str] = Field(description="where to see more")
