"""Captions on a real Redis: the latest words are published, and a call never waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from livekit.agents.voice.events import UserInputTranscribedEvent
from redis.asyncio import Redis

from devstack.process import Process
from rollcall_agent.job import captions as module
from rollcall_agent.job.captions import SEGMENTS, Captions, show_captions
from shared.contracts.events import CaptionChanged, Envelope
from shared.contracts.keys import captions_channel
from shared.contracts.sessions import Role
from shared.core.workers.backend import RedisAttempt
from shared.platform.redis.client import connect_redis
from tests.stack_fixtures.waiting import eventually
from tests.unit.agent.agent_fakes import SESSION, an_order


@asynccontextmanager
async def listening(redis: Redis) -> AsyncIterator[list[CaptionChanged]]:
    """What is told, as it comes."""
    heard: list[CaptionChanged] = []
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(captions_channel(SESSION))

        async def listen() -> None:
            while True:
                message: Any = await subscription.get_message(timeout=1)
                if message is not None:
                    event = Envelope.model_validate_json(message["data"]).event()
                    assert isinstance(event, CaptionChanged)
                    heard.append(event)

        task = asyncio.create_task(listen())
        yield heard
        task.cancel()


@asynccontextmanager
async def telling(redis: Redis) -> AsyncIterator[Captions]:
    captions = Captions(
        order=an_order(2), show=partial(show_captions, attempt=RedisAttempt(redis, SESSION, 2))
    )
    captions.start()
    yield captions
    await captions.aclose()


def understood(text: str, *, final: bool = False) -> UserInputTranscribedEvent:
    return UserInputTranscribedEvent(transcript=text, is_final=final)


async def test_both_sides_words_are_told_by_segment(redis: Redis) -> None:
    async with listening(redis) as heard, telling(redis) as captions:
        captions.heard(understood("What are"), caller="caller-1")
        await eventually(lambda: len(heard) == 1)
        captions.heard(understood("What are your hours?", final=True), caller="caller-1")
        await captions.spoken.capture_text("We ")
        await captions.spoken.capture_text("open")
        await eventually(lambda: len(heard) == 3)
        captions.spoken.flush()
        captions.heard(understood("And"), caller="caller-1")
        await eventually(lambda: len(heard) == 5)
    told = [(caption.segment_id, caption.text, caption.final) for caption in heard]
    assert told == [
        ("2.user.1", "What are", False),
        ("2.user.1", "What are your hours?", True),
        ("2.assistant.1", "We open", False),
        ("2.assistant.1", "We open", True),
        ("2.user.2", "And", False),
    ]
    assert {caption.participant_identity for caption in heard if caption.role is Role.USER} == {"caller-1"}


async def test_while_redis_is_frozen_only_the_latest_words_wait(
    own_redis: tuple[str, Process], monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "RETRY_DELAY_S", 0.05)
    url, process = own_redis
    ears, mouth = connect_redis(url, timeout_s=30), connect_redis(url, timeout_s=0.2)
    async with listening(ears) as heard, telling(mouth) as captions:
        captions.heard(understood("before"), caller=None)
        await eventually(lambda: len(heard) == 1)
        process.freeze()
        for number in range(10_000):
            captions.say(Role.USER, f"word {number}", final=number % 100 == 99)
            await captions.spoken.capture_text("word ")
        assert len(captions._waiting) <= SEGMENTS
        process.thaw()
        captions.heard(understood("after"), caller=None)
        await eventually(lambda: heard[-1].text == "after")
    assert len(heard) < 20
    await ears.aclose()
    await mouth.aclose()
