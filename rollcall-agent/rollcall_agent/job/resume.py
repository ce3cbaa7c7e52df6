"""Restore the conversation for an agent that takes over."""

import time
from collections.abc import Sequence
from typing import Final, Literal

from livekit.agents.llm import ChatContext, ChatItem, ChatMessage, FunctionCall, FunctionCallOutput
from pydantic import ValidationError

from rollcall_agent.ports import FAILED
from shared.contracts.dispatching import PastTurn
from shared.contracts.sessions import Role
from shared.contracts.text import marked
from shared.contracts.tools import spelled_out
from shared.core.workers.backend import AttemptBackend
from shared.platform.logs.logs import get_logger

_ROLES: Final[dict[Role, Literal["user", "assistant"]]] = {Role.USER: "user", Role.ASSISTANT: "assistant"}

log = get_logger(__name__)


async def read_past_turns(attempt: AttemptBackend) -> list[PastTurn]:
    """Return the turns so far, in the order of speech; none if they can't be read, since a caller waits."""
    try:
        turns = await attempt.read_history()
    except (*FAILED, ValidationError) as failure:
        log.warning("history_unreadable", error=repr(failure))
        return []
    if turns is None:
        log.warning("history_missing")
        return []
    return turns


def as_context(turns: Sequence[PastTurn]) -> ChatContext:
    """Return the turns as the SDK's context, under their own ids, without handoffs between earlier agents."""
    items: list[ChatItem] = []
    for turn in turns:
        if (item := _as_item(turn)) is not None:
            # The SDK sorts its items by this time; ours are already in the order of speech.
            item.created_at = max(item.created_at, items[-1].created_at if items else 0.0)
            items.append(item)
    return ChatContext(items)


def awaits_reply(turns: Sequence[PastTurn]) -> bool:
    """Return whether the user spoke last."""
    messages = [turn for turn in turns if turn.kind == "message"]
    return bool(messages) and messages[-1].role is Role.USER


def _as_item(turn: PastTurn) -> ChatItem | None:
    # The SDK inserts a new item by its time, and the clock of the earlier agent's host may have been ahead.
    created_at = min(turn.created_at.timestamp(), time.time())
    extra = spelled_out(turn.kind, turn.text, turn.extra, cut_from_bytes=turn.cut_from_bytes)
    try:
        if turn.kind == "function_call":
            return FunctionCall(
                id=turn.item_id,
                call_id=extra["call_id"],
                name=extra["name"],
                arguments=extra["arguments"],
                created_at=created_at,
            )
        if turn.kind == "function_call_output":
            return FunctionCallOutput(
                id=turn.item_id,
                call_id=extra["call_id"],
                name=extra["name"],
                output=extra.get("output", turn.text),
                is_error=extra.get("is_error", False),
                created_at=created_at,
            )
    except (KeyError, ValidationError) as malformed:
        log.warning("past_turn_unusable", item_id=turn.item_id, error=repr(malformed))
        return None
    if turn.kind != "message" or turn.role not in _ROLES:
        return None
    return ChatMessage(
        id=turn.item_id,
        role=_ROLES[turn.role],
        content=[marked(turn.text, turn.cut_from_bytes)],
        interrupted=turn.interrupted,
        created_at=created_at,
    )
