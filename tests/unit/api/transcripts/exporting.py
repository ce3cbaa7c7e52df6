"""Turns and a session to export."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from services.api.transcripts.export.formats import Writer
from services.api.transcripts.read.latency import Latencies
from services.api.transcripts.schemas import Turn
from shared.core.sessions.tables import SessionRow
from tests.unit.making import T0, make_session

SESSION_ID = "01a20607-45be-712a-9742-1692c79d7639"


def turn(seq: int = 1, **changes: Any) -> Turn:
    """A turn without times, unless they are given: `offset_s` and `duration_s` as an export sees them."""
    offset = changes.get("offset_s", float(seq))
    values: dict[str, Any] = {
        "seq": seq,
        "id": f"item_{seq}",
        "kind": "message",
        "role": "user",
        "text": f"This is turn {seq}.",
        "interrupted": False,
        "language": None,
        "confidence": None,
        "participant_identity": None,
        "attempt": 1,
        "created_at": T0 + timedelta(seconds=offset),
        "started_at": None,
        "ended_at": None,
        "metrics": {},
        "extra": {},
        "offset_s": offset,
        "duration_s": None,
        "latencies": Latencies(),
        **changes,
    }
    return Turn(**values)


def call(seq: int, call_id: str, name: str = "look_up", arguments: str = "{}") -> Turn:
    return turn(
        seq,
        kind="function_call",
        role="tool",
        text=f"{name}({arguments})",
        extra={"call_id": call_id, "name": name, "arguments": arguments},
    )


def output(seq: int, call_id: str, text: str = "done") -> Turn:
    extra = {"call_id": call_id, "name": "look_up", "output": text, "is_error": False}
    return turn(seq, kind="function_call_output", role="tool", text=text, extra=extra)


def a_session(**changes: Any) -> SessionRow:
    return make_session(id=SESSION_ID, **changes)


async def export(write: Writer, *turns: Turn, session: SessionRow | None = None) -> str:
    async def stream() -> AsyncIterator[Turn]:
        for one in turns:
            yield one

    return "".join([part async for part in write(session or a_session(), stream())])
