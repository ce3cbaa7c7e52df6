"""The JSON of /health/agent."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.contracts.causes import Cause

Status = Literal["pass", "warn", "fail"]
Known = Literal["registered", "proven", "unproven", "unknown"]


class WorkerInfo(BaseModel):
    """The workers that report to Rollcall; null if the registry can't be read."""

    agent_name: str
    registered_workers: int | None
    free_slots: int | None


class Canary(BaseModel):
    """The newest canary with a verdict. `ok` means that its agent joined and listened; nobody spoke to it."""

    session_id: str
    at: datetime
    ok: bool
    cause: Cause | None


class FoundCause(BaseModel):
    """Why the next session will fail (`fatal`) or may fail, since when, and what to do."""

    code: Cause
    fatal: bool
    since: datetime | None
    evidence: dict[str, Any]
    fix: str


class FoundFault(BaseModel):
    """A fault that the operator should fix, although the next session gets its agent."""

    code: str
    seen_at: datetime
    evidence: dict[str, Any]
    fix: str


class AgentInShort(BaseModel):
    """One agent's name in the overview."""

    agent_name: str
    status: Status
    known: Known
    summary: str
    registered_workers: int | None
    free_slots: int | None
    last_proven_join: datetime | None
    causes: list[Cause]


class PoolHealth(BaseModel):
    """A pool with workers, or with a share of the sessions that name none. `cause`: why it takes no call."""

    deployment: str
    percent: int
    registered_workers: int
    free_slots: int
    cause: Cause | None


class AgentHealth(BaseModel):
    """Whether the next session of this agent's name would get its agent.

    `known` says how Rollcall knows that workers serve the name. `registered`: a worker that reports to
    Rollcall is registered. `proven`: an agent of another worker joined within the last day. `unproven`: one
    joined before that. `unknown`: none of these.
    """

    agent_status: Literal["livekit_connected", "livekit_disconnected"]
    agent_worker_info: WorkerInfo
    status: Status
    known: Known
    summary: str
    last_proven_join: datetime | None = Field(description="of an agent of this name")
    last_canary: Canary | None
    pools: list[PoolHealth] | None = Field(description="null where the registry can't be read")
    root_cause: list[FoundCause]
    findings: list[FoundFault]
    agents: list[AgentInShort] | None = Field(description="every relevant name, unless the request named one")
    look_at: dict[str, str] = Field(description="where to see more")
