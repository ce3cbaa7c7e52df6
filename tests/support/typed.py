"""A caller who types to the agent, and what the transcript then has."""

from livekit import rtc
from livekit.agents.types import TOPIC_CHAT

from tests.support.sessions import Rollcall, until

# The SDK drops what comes from somebody whom it doesn't see yet, up to 3 s after they have joined.
UNSEEN_S = 4.0


async def typed(room: rtc.Room, text: str) -> None:
    """Write to the agent once."""
    await room.local_participant.send_text(text, topic=TOPIC_CHAT)


async def texts(rollcall: Rollcall, session_id: str, role: str) -> list[str]:
    """The stored texts of a role, in order."""
    items = (await rollcall.transcript(session_id))["items"]
    return [item["text"] for item in items if item["role"] == role]


async def type_until_heard(rollcall: Rollcall, session_id: str, room: rtc.Room, text: str) -> None:
    """Write to the agent, again while it has not seen who writes, until the text is stored."""

    async def heard() -> bool:
        return text in await texts(rollcall, session_id, "user")

    for _ in range(5):
        await typed(room, text)
        try:
            await until(heard, what=f"{text!r} is heard", timeout_s=UNSEEN_S)
        except AssertionError:
            continue
        return
    await until(heard, what=f"{text!r} is heard")
