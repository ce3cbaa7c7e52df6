"""Read what a caller types, and hold no more of it than is answered."""

from collections.abc import AsyncIterable

from livekit.agents.llm import ChatMessage

from services.agent.job.turns import TYPED_BYTES
from shared.contracts.text import CUT_MARK, MAX_TYPED_BYTES, clean, cut, size_of


async def read_typed(pieces: AsyncIterable[str]) -> str | ChatMessage:
    """Return the text once it has all come, cleaned.

    Of one that is longer than `MAX_TYPED_BYTES` the beginning, as a message with a mark at its end that
    tells the model, and how long it was for the transcript. The rest is read too, since the SDK would keep
    it until somebody does.
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
