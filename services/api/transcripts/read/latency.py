"""How long each side waited for the other: the latencies of a turn, and a summary of a session.

The names are those of livekit-agents' `ChatMessage.metrics`, and all are in seconds.
"""

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.sessions import Role
from shared.core.transcripts.tables import TranscriptItemRow


class Latencies(BaseModel):
    """The latencies of one turn, in seconds; null if the SDK has none."""

    transcription_delay: float | None = Field(
        None, description="user: from the end of speech to its transcript"
    )
    end_of_turn_delay: float | None = Field(
        None, description="user: from the end of speech until the turn counted as over"
    )
    llm_node_ttft: float | None = Field(None, description="assistant: to the model's first token")
    tts_node_ttfb: float | None = Field(None, description="assistant: from first text to first audio")
    e2e_latency: float | None = Field(
        None, description="assistant: from the end of the user's speech until the answer is heard"
    )

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "Latencies":
        """Return the latencies from the SDK's metrics."""
        return cls(**{name: _number(metrics.get(name)) for name in cls.model_fields})


class Percentiles(BaseModel):
    """Percentiles of all turns that have the value, by nearest rank."""

    p50: float
    p95: float
    count: int


class RoleSummary(BaseModel):
    """The summary of one side. `talk_time_s` covers the turns whose times are known."""

    turns: int = 0
    words: int = 0
    interrupted: int = 0
    talk_time_s: float = 0.0


class Summary(BaseModel):
    """The summary of a whole session. `interruptions` counts answers that the caller cut short."""

    turns: int
    words: int
    interruptions: int
    by_role: dict[str, RoleSummary]
    latencies: dict[str, Percentiles]


@dataclass(frozen=True)
class Measured:
    """The data of a turn that the summary needs."""

    kind: str
    role: str
    text: str
    interrupted: bool
    started_at: datetime | None
    ended_at: datetime | None
    metrics: Mapping[str, Any]


@dataclass
class _Counts:
    roles: dict[str, RoleSummary] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)


async def summarise(db: AsyncSession, session_id: str) -> Summary:
    """Read every turn of the session, keeping only numbers."""
    names = ("kind", "role", "text", "interrupted", "started_at", "ended_at", "metrics")
    columns = [getattr(TranscriptItemRow, name) for name in names]
    query = select(*columns).where(col(TranscriptItemRow.session_id) == session_id)
    rows = await db.stream(query.execution_options(yield_per=500))
    return await summary_of(Measured(*row) async for row in rows)


async def summary_of(turns: AsyncIterator[Measured]) -> Summary:
    """Return the summary of the turns."""
    counts = _Counts()
    async for turn in turns:
        _add(counts, turn)
    roles = counts.roles
    for role in roles.values():
        role.talk_time_s = round(role.talk_time_s, 3)
    return Summary(
        turns=sum(role.turns for role in roles.values()),
        words=sum(role.words for role in roles.values()),
        interruptions=roles.get(Role.ASSISTANT, RoleSummary()).interrupted,
        by_role=dict(sorted(roles.items())),
        latencies={
            name: Percentiles(p50=percentile(values, 50), p95=percentile(values, 95), count=len(values))
            for name in Latencies.model_fields
            if (values := counts.latencies.get(name))
        },
    )


def _add(counts: _Counts, turn: Measured) -> None:
    role = counts.roles.setdefault(turn.role, RoleSummary())
    role.turns += 1
    role.interrupted += turn.interrupted
    if turn.kind == "message":
        role.words += len(turn.text.split())
    if turn.started_at and turn.ended_at:
        role.talk_time_s += max(0.0, (turn.ended_at - turn.started_at).total_seconds())
    for name in Latencies.model_fields:
        value = _number(turn.metrics.get(name))
        if value is not None:
            counts.latencies.setdefault(name, []).append(value)


def _number(value: object) -> float | None:
    """Return the value if it is a finite number, else None: `metrics` comes from another process."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percentile(values: list[float], percent: int) -> float:
    """Return the nearest rank: the smallest value that at least `percent` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
