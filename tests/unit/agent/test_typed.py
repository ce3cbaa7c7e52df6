"""What callers type is read with a limit."""

from collections.abc import AsyncIterator

import pytest
from livekit.agents.llm import ChatMessage

from rollcall_agent.job.turns import message_fields
from services.agent.typed import read_typed
from shared.contracts.text import CUT_MARK, MAX_TYPED_BYTES, size_of


async def pieces(piece: str, times: int) -> AsyncIterator[str]:
    for _ in range(times):
        yield piece


@pytest.mark.parametrize("piece", ["x" * 15_000, "ü" * 7_500, "🙂" * 3_750])
async def test_megabytes_are_cut_and_the_model_and_the_transcript_are_told(
    piece: str,
) -> None:
    read = await read_typed(pieces(piece, 200))
    assert isinstance(read, ChatMessage)
    content = read.text_content or ""
    assert content.endswith(CUT_MARK)
    assert size_of(content) <= MAX_TYPED_BYTES + len(CUT_MARK)
    fields = message_fields(read)
    assert fields is not None
    assert fields["text"] + CUT_MARK == content
    assert fields["cut_from_bytes"] == 3_000_000


@pytest.mark.parametrize(
    ("piece", "expected"),
    [("Hello", "Hello"), ("a\x00b", "ab"), ("\ud83d", "\ufffd"), ("x" * 32_768, "x" * 32_768)],
)
async def test_what_is_short_enough_is_a_text_and_clean(piece: str, expected: str) -> None:
    assert await read_typed(pieces(piece, 1)) == expected
