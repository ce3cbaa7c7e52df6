"""Texts of callers are kept until the agent can answer, and a dropped text is logged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from livekit import rtc
from livekit.agents.types import TOPIC_CHAT
from livekit.agents.voice.room_io import TextInputEvent
from structlog.testing import capture_logs

from services.agent import chat
from services.agent.chat import Chat

CALLER, STRANGER = "caller", "stranger"


@dataclass
class FakeParticipant:
    """Somebody in the room."""

    identity: str
    state: rtc.ParticipantState.ValueType = rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE


class FakeRoom(rtc.EventEmitter[str]):
    """A room, and the participants who are visible in it."""

    def __init__(self) -> None:
        super().__init__()
        self.remote_participants: dict[str, FakeParticipant] = {}
        self.handlers: dict[str, Callable[..., None]] = {}

    def register_text_stream_handler(self, topic: str, handler: Callable[..., None]) -> None:
        self.handlers[topic] = handler

    def unregister_text_stream_handler(self, topic: str) -> None:
        del self.handlers[topic]

    def isconnected(self) -> bool:
        return True

    def see(self, identity: str) -> None:
        participant = self.remote_participants[identity] = FakeParticipant(identity)
        self.emit("participant_active", participant)

    def receive(self, text: str, *, sender: str = CALLER) -> None:
        self.handlers[TOPIC_CHAT](FakeText(text), sender)


@dataclass
class FakeText:
    """A text that has arrived as a whole."""

    text: str
    info: None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self.text


@dataclass
class FakeSession:
    """A session, and the texts that it has answered."""

    answered: list[str] = field(default_factory=list)
    is_quiet: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def room() -> FakeRoom:
    return FakeRoom()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    async def answer(session: FakeSession, event: TextInputEvent) -> None:
        assert cast(Any, event.participant) == FakeParticipant(CALLER)
        if event.text == "fail":
            raise RuntimeError("AgentSession isn't running")
        if event.text == "one":  # the first text interrupts the greeting, the second one interrupts nothing
            await session.is_quiet.wait()
        session.answered.append(event.text)

    monkeypatch.setattr(chat, "_answer_as_the_sdk_does", answer)
    session = FakeSession()
    session.is_quiet.set()
    return session


@pytest.fixture
def opened(room: FakeRoom) -> Chat:
    opened = Chat(cast(rtc.Room, room))
    opened.open()
    return opened


async def waiting() -> None:
    """Let each text get as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def settled(opened: Chat) -> None:
    """Wait until each text that has arrived is handled."""
    await asyncio.gather(*opened.texts)


async def test_what_is_written_before_the_session_starts_is_answered_in_order(
    room: FakeRoom, session: FakeSession, opened: Chat
) -> None:
    session.is_quiet.clear()
    room.see(CALLER)
    room.receive("one")
    room.receive("two")
    await waiting()
    assert session.answered == []
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    await waiting()
    session.is_quiet.set()
    await settled(opened)
    assert session.answered == ["one", "two"]


async def test_a_text_waits_until_its_sender_is_seen(
    room: FakeRoom, session: FakeSession, opened: Chat
) -> None:
    session.is_quiet.clear()
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    room.receive("one")
    room.receive("two")
    await waiting()
    assert session.answered == []
    room.see(STRANGER)
    room.see(CALLER)
    await waiting()
    session.is_quiet.set()
    await settled(opened)
    assert session.answered == ["one", "two"]


async def test_a_text_whose_sender_is_never_seen_is_ignored_with_a_word(
    room: FakeRoom, session: FakeSession, opened: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "UNSEEN_S", 0.01)
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    room.receive("one")
    with capture_logs() as logs:
        await settled(opened)
    assert session.answered == []
    [line] = logs
    assert (line["event"], line["participant_identity"], line["is_seen"]) == ("text_ignored", CALLER, False)


async def test_an_agent_that_leaves_waits_for_nobody(
    room: FakeRoom, session: FakeSession, opened: Chat
) -> None:
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    room.receive("one")
    await waiting()
    with capture_logs() as logs:
        room.emit("connection_state_changed", rtc.ConnectionState.CONN_DISCONNECTED)
        await settled(opened)
    assert [(line["event"], line["is_seen"]) for line in logs] == [("text_ignored", False)]


async def test_an_agent_that_talks_with_somebody_answers_nobody_else(
    room: FakeRoom, session: FakeSession, opened: Chat
) -> None:
    for identity in (CALLER, STRANGER):
        room.see(identity)
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    with capture_logs() as logs:
        room.receive("one", sender=STRANGER)
        room.receive("two")
        await settled(opened)
    assert session.answered == ["two"]
    [line] = logs
    assert (line["event"], line["participant_identity"], line["is_seen"]) == ("text_ignored", STRANGER, True)


async def test_a_text_that_cannot_be_answered_is_logged_and_the_next_one_is(
    room: FakeRoom, session: FakeSession, opened: Chat
) -> None:
    room.see(CALLER)
    opened.start(cast(Any, session), is_partner=CALLER.__eq__)
    with capture_logs() as logs:
        room.receive("fail")
        room.receive("one")
        await settled(opened)
    assert session.answered == ["one"]
    assert [line["event"] for line in logs] == ["text_failed"]


async def test_a_closed_chat_takes_nothing_and_waits_for_nothing(room: FakeRoom, opened: Chat) -> None:
    room.receive("one")
    await opened.aclose()
    assert room.handlers == {}
    assert opened.texts == set()
