"""Exports for programs: JSON lines, OpenAI's chat messages, vCon."""

import uuid
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from services.api.transcripts.schemas import Turn
from shared.core.sessions.tables import SessionRow
from shared.platform.plain_text import escaped, plain_json

# A call that is never answered must not hold back the whole conversation.
_MOST_HELD_BACK: Final = 200
_MESSAGES: Final = ("message", "instructions")


async def to_jsonl(_: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield one turn a line, in the form of the JSON answer's items."""
    async for turn in turns:
        yield escaped(turn.model_dump_json()) + "\n"


async def to_openai(_: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield `{"messages": […]}` as the chat completions API accepts them.

    Instructions become system messages. That API requires an answer directly after each tool call. So turns
    in between are moved behind the answer, and a call without an answer gets an empty one. Answers without a
    call and handoffs are left out.
    """
    yield '{"messages":['
    separator = ""
    async for message in _messages(turns):
        yield separator + plain_json(message)
        separator = ","
    yield "]}\n"


async def _messages(turns: AsyncIterator[Turn]) -> AsyncIterator[dict[str, Any]]:
    held: deque[Turn] = deque()
    answers: dict[str, str] = {}
    async for turn in turns:
        if turn.kind == "function_call_output":
            answers[_call_id(turn)] = turn.shown
        elif turn.kind in ("function_call", *_MESSAGES):
            held.append(turn)
        while held and (_is_answered(held[0], answers) or len(held) > _MOST_HELD_BACK):
            for message in _spelled_out(held.popleft(), answers):
                yield message
    for turn in held:
        for message in _spelled_out(turn, answers):
            yield message


def _call_id(turn: Turn) -> str:
    return str(turn.extra.get("call_id") or turn.id)


def _is_answered(turn: Turn, answers: dict[str, str]) -> bool:
    return turn.kind in _MESSAGES or _call_id(turn) in answers


def _spelled_out(turn: Turn, answers: dict[str, str]) -> list[dict[str, Any]]:
    if turn.kind in _MESSAGES:
        return [{"role": turn.role, "content": turn.shown}]
    function = {
        "name": str(turn.extra.get("name", "unknown")),
        "arguments": str(turn.extra.get("arguments", "{}")),
    }
    call_id = _call_id(turn)
    call = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": answers.pop(call_id, "")},
    ]


async def to_vcon(session: SessionRow, turns: AsyncIterator[Turn]) -> AsyncIterator[str]:
    """Yield an unsigned vCon (draft-ietf-vcon-vcon-core-04); experimental, like the draft.

    Messages become dialogs of type `text`. Tool calls, their answers and handoffs become attachments, since
    nobody said them. Party 0 is the caller, party 1 the agent.
    """
    yield plain_json(_vcon_head(session))[:-1] + ',"dialog":['
    attachments: list[tuple[int, Turn]] = []
    dialogs = 0
    async for turn in turns:
        if turn.kind != "message":
            attachments.append((max(0, dialogs - 1), turn))
            continue
        yield ("," if dialogs else "") + plain_json(_dialog(turn))
        dialogs += 1
    yield '],"analysis":[],"attachments":['
    # An attachment belongs to a dialog, so there are none if nobody has spoken.
    for number, (dialog, turn) in enumerate(attachments if dialogs else []):
        yield ("," if number else "") + plain_json(_attachment(turn, dialog))
    yield "]}\n"


def _vcon_head(session: SessionRow) -> dict[str, Any]:
    caller: dict[str, Any] = {"name": session.participant_name or session.participant_identity}
    return {
        "uuid": _vcon_uuid(session.id),
        "created_at": session.requested_at.isoformat(),
        "subject": f"call in room {session.room_name}",
        "parties": [
            # The caller's identity is not verified.
            {**caller, "validation": "none", "type": "human"},
            {"name": session.agent_name, "validation": "none", "type": "agent"},
        ],
    }


def _vcon_uuid(session_id: str) -> str:
    """Return the session's id as a UUID of version 8, which the draft requires.

    Always the same for a session.
    """
    try:
        value = uuid.UUID(session_id).int
    except ValueError:
        value = uuid.uuid5(uuid.NAMESPACE_OID, session_id).int
    return str(uuid.UUID(int=value & ~(0xF << 76) | (8 << 76)))


def _dialog(turn: Turn) -> dict[str, Any]:
    dialog: dict[str, Any] = {
        "type": "text",
        "start": (turn.started_at or turn.created_at).isoformat(),
        "parties": [1, 0] if turn.role == "assistant" else [0, 1],
        "mediatype": "text/plain",
        "encoding": "none",
        "body": turn.shown,
        "message_id": turn.id,
    }
    if turn.duration_s is not None:
        dialog["duration"] = turn.duration_s
    return dialog


def _attachment(turn: Turn, dialog: int) -> dict[str, Any]:
    return {
        "purpose": turn.kind,
        "start": turn.created_at.isoformat(),
        "party": 1,
        "dialog": dialog,
        "mediatype": "application/json",
        "encoding": "json",
        "body": {"text": turn.shown, **turn.extra},
    }
