"""The queue is a hint and the database the truth: a fault of the queue costs no session."""

import asyncio
import random
import re
import signal
import time

import httpx
import pytest

from tests.support.census import take_census
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.faults


async def test_with_redis_frozen_a_session_is_accepted_at_once_and_dispatched_afterwards(
    rollcall: Rollcall, joiner: str
) -> None:
    redis = rollcall.stack.process("redis")
    redis.freeze()
    try:
        async with httpx.AsyncClient(base_url=rollcall.stack.api_url, timeout=4) as impatient:
            responses = await asyncio.gather(
                *(impatient.post("/v1/sessions", json={"agent_name": joiner}) for _ in range(5))
            )
        started = [response.json() for response in responses]
        assert [response.status_code for response in responses] == [202] * 5
    finally:
        redis.thaw()
    for one in started:
        session = await rollcall.until_status(one["session_id"], "active")
        assert await rollcall.agents_in(one["room_name"]) == [session["agent_identity"]]
        await rollcall.end(one["session_id"])


async def test_a_redis_that_stays_away_fails_the_session_with_queue_stalled(rollcall: Rollcall) -> None:
    redis = rollcall.stack.process("redis")
    redis.freeze()
    try:
        started = await rollcall.start(agent_name="nobody")
        failed = await rollcall.until_status(started["session_id"], "failed")
        assert failed["failure"]["cause"] == "queue_stalled"
    finally:
        redis.thaw()


async def test_no_session_is_stuck_when_celery_workers_are_killed_under_load(
    rollcall: Rollcall, joiner: str, dice: random.Random, board: Scoreboard, full: bool
) -> None:
    stop = time.monotonic() + (60 if full else 12)
    started: list[dict[str, str]] = []

    async def load() -> None:
        while time.monotonic() < stop:
            started.append(await rollcall.start(agent_name=joiner))
            await asyncio.sleep(dice.uniform(0.05, 0.4))

    async def kills() -> None:
        while time.monotonic() < stop:
            await asyncio.sleep(dice.uniform(0.5, 2.5))
            victim = rollcall.stack.process(dice.choice(["dispatcher", "verifier"]))
            if victim.pid is not None:
                victim.kill(signal.SIGKILL)

    await asyncio.gather(load(), kills())
    assert sum(rollcall.stack.process(name).restarts for name in ("dispatcher", "verifier")) > 0
    await take_census(rollcall, board, started)


async def test_a_task_delivered_twice_makes_one_dispatch(rollcall: Rollcall, joiner: str) -> None:
    from shared.contracts.keys import DISPATCH_TASK, VERIFY_TASK
    from shared.platform.celery.tasks import TaskSender, make_celery

    sender = TaskSender(make_celery("test", rollcall.stack.redis_url))
    started = await rollcall.start(agent_name=joiner)
    for task in (DISPATCH_TASK, VERIFY_TASK) * 3:
        await sender.send(task, [started["session_id"]] * 3)
    session = await rollcall.until_status(started["session_id"], "active")
    sender.close()
    assert session["attempt"] == 1
    types = await rollcall.event_types(started["session_id"])
    assert types.count("dispatch.accepted.v1") == types.count("agent.joined.v1") == 1
    assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
    await rollcall.end(started["session_id"])


async def test_celery_workers_are_back_within_seconds_of_their_broker(
    rollcall: Rollcall, joiner: str
) -> None:
    dispatcher = rollcall.stack.process("dispatcher")
    redis = rollcall.stack.process("redis")
    before = len(dispatcher.log())

    async def pauses() -> list[float]:
        found = re.findall(r'"retry_in_s": (\d+\.\d+)', dispatcher.log()[before:])
        return [float(pause) for pause in found] if len(found) >= 6 else []

    await redis.stop()
    try:
        # Celery's own steps are 2, 4, 6 … 30 s; a session has 15 s for everything.
        assert max(await until(pauses, what="the dispatcher has tried six times")) <= 2
    finally:
        await redis.start()
    started = await rollcall.start(agent_name=joiner)
    session = await rollcall.until_status(started["session_id"], "active")
    assert await rollcall.agents_in(started["room_name"]) == [session["agent_identity"]]
    await rollcall.end(started["session_id"])
