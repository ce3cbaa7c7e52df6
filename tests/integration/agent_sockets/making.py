"""What workers and jobs send over their sockets, and what came of it."""

from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.contracts.agent_calls import (
    Publish,
)
from shared.contracts.events import (
    AgentReported,
    CaptionChanged,
    Envelope,
    Event,
    Step,
    TurnFinished,
    wrap,
)
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import (
    ENVELOPE_FIELD,
)
from shared.contracts.sessions import Role
from shared.core.workers.credentials import KeyPair
from tests.integration.api_client import KEY, SECRET
from tests.support.stream_entries import entries_of
from tests.unit.making import T0

PAIR = KeyPair(KEY, SecretStr(SECRET))
MINE, OTHERS = SessionId(new_id()), SessionId(new_id())


def turn(session_id: SessionId = MINE, attempt: int = 1, **changes: Any) -> TurnFinished:
    values: dict[str, Any] = {"seq": 1, "item_id": "item-1", "role": Role.USER, "text": "สวัสดี"}
    return TurnFinished(session_id=session_id, attempt=attempt, created_at=T0, **{**values, **changes})


def report(session_id: SessionId = MINE, attempt: int = 1, worker_id: str = "worker-1") -> AgentReported:
    named = {"room_name": "room", "agent_name": "agent", "job_id": "AJ_1"}
    return AgentReported(
        session_id=session_id, attempt=attempt, step=Step.CONNECTED, worker_id=worker_id, **named
    )


def caption(session_id: SessionId = MINE) -> CaptionChanged:
    return CaptionChanged(session_id=session_id, attempt=1, segment_id="s", role=Role.USER, text="hello")


def wrapped(event: Event, session_id: SessionId = MINE) -> Envelope:
    return wrap(event, session_id=session_id, source="somewhere", time=T0)


def publishing(*events: Event, stream: Any = "turns", **of: Any) -> Publish:
    named = {"session_id": MINE, "attempt": 1, **of}
    return Publish(stream=stream, envelopes=[wrapped(event) for event in events], **named)


async def published(redis: Redis, stream: str) -> list[Envelope]:
    return [Envelope.parse(fields[ENVELOPE_FIELD]) for _, fields in await entries_of(redis, stream)]


async def refused_handshake(url: str, bearer: str, opened: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(url, bearer):
            pass
    return refused.value.status
