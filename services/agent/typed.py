"""Read texts that a caller types, and keep no more of them than is answered."""

from collections.abc import AsyncIterable

from livekit.agents.llm import ChatMessage

from rollcall_agent.job.turns import TYPED_BYTES
from shared.contracts.text import CUT_MARK, MAX_TYPED_BYTES, clean, cut, size_of


async def read_typed(pieces: AsyncIterable[str]) -> str | ChatMessage:
    """Return the cleaned text once all of it has arrived.

    For a text longer than `MAX_TYPED_BYTES`, return a message with its beginning. A mark at the end tells the
    model that it was cut, and the original length goes into the transcript. The rest is read too, since the
    SDK would otherwise keep it in memory.
    """
    kept, size = [], 0
    async for piece in pieces:
        if size < MAX_TYPED_BYTES:
            kept.append(piece)
        size += size_of(piece)
    text = clean("".join(kept))
    if size_of(text) <= MAX_TYPED_BYTES and size <= MAX_TYPED_BYTES:
        return text
    content = cut(text, MAX_TYPED_BYTES) + CUT_MARK
    return ChatMessage(role="user", content=[content], extra={TYPED_BYTES: size})
