"""What a living agent worker and its jobs write to Redis."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from devstack.process import Process
from rollcall_agent.job.job_beat import JobBeat
from rollcall_agent.job.resume import read_past_turns
from rollcall_agent.worker.heartbeat import Heart, Standing
from rollcall_agent.worker.orders import Orders
from services.agent.settings import AgentSettings
from shared.contracts.causes import Cause
from shared.contracts.dispatching import PastTurn
from shared.contracts.keys import JOB_BEATS, history_key
from shared.contracts.sessions import Role
from shared.contracts.workers import WorkerFault, WorkerHeartbeat, WorkerOrder
from shared.core.workers.backend import RedisAttempt, RedisBackend
from shared.core.workers.beats import read_beats
from shared.core.workers.history import write_history
from shared.core.workers.orders import give_order
from shared.core.workers.registry import read_fleet
from shared.platform.background import stop_all
from shared.platform.clock import utc_now
from shared.platform.redis.client import connect_redis
from tests.stack_fixtures.waiting import eventually
from tests.unit.agent.agent_fakes import SESSION

FIELD = f"{SESSION}:2"


class Worker:
    """A worker in the state that the test sets, with its heartbeats."""

    def __init__(self, redis: Redis, settings: AgentSettings) -> None:
        self.standing = Standing(active_jobs=0, registered=True, draining=False)
        self._redis = redis
        self.drained = asyncio.Event()
        self._orders = Orders(drain=self.drained.set)
        self.heart = Heart(
            backend=RedisBackend(redis),
            settings=settings,
            version="1",
            standing=lambda: replace(self.standing, cordoned=self._orders.cordoned),
            obey=self._orders.obey,
        )

    async def told(self) -> WorkerHeartbeat | None:
        return next(iter((await read_fleet(self._redis)).workers), None)

    async def is_cordoned(self) -> bool:
        told = await self.told()
        return told is not None and told.cordoned


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AgentSettings:
    monkeypatch.chdir(tmp_path)
    for name, value in {"URL": "ws://127.0.0.1:7880", "API_KEY": "key", "API_SECRET": "x" * 40}.items():
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    return AgentSettings()


@pytest.fixture
async def worker(redis: Redis, settings: AgentSettings) -> AsyncIterator[Worker]:
    worker = Worker(redis, settings)
    beating = asyncio.create_task(worker.heart.run())
    yield worker
    await stop_all([beating])


async def test_a_worker_that_livekit_does_not_know_yet_is_not_in_the_registry(worker: Worker) -> None:
    assert await worker.told() is None
    worker.heart.registered("AW_1")
    await eventually(worker.told)


async def test_a_change_of_the_jobs_is_told_before_the_next_beat_is_due(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall_agent.worker.heartbeat.HEARTBEAT_INTERVAL_S", 3600.0)
    worker.heart.registered("AW_1")
    await eventually(worker.told)
    fault = WorkerFault(cause=Cause.INFERENCE_UNAVAILABLE, detail="away", since=utc_now())
    for standing in (
        Standing(active_jobs=1, registered=True, draining=False, sessions=(SESSION,)),
        Standing(active_jobs=0, registered=True, draining=False),
        Standing(active_jobs=0, registered=True, draining=False, faults=(fault,)),
    ):
        worker.standing = standing

        async def is_told(wanted: Standing = standing) -> bool:
            told = await worker.told()
            return told is not None and (told.active_jobs, told.sessions, told.faults) == (
                wanted.active_jobs,
                list(wanted.sessions),
                list(wanted.faults),
            )

        await eventually(is_told)


async def test_an_order_is_obeyed_at_the_next_beat_and_told(worker: Worker, redis: Redis) -> None:
    worker.heart.registered("AW_1")
    await eventually(worker.told)
    await give_order(redis, "AW_1", WorkerOrder.CORDON)
    await eventually(worker.is_cordoned)
    await give_order(redis, "AW_1", WorkerOrder.UNCORDON)

    async def takes_jobs() -> bool:
        told = await worker.told()
        return told is not None and told.free_slots > 0

    await eventually(takes_jobs)
    assert not worker.drained.is_set()
    await give_order(redis, "AW_1", WorkerOrder.DRAIN)
    await worker.drained.wait()


async def test_a_cordoned_worker_stays_so_under_a_new_id_and_in_an_emptied_redis(
    worker: Worker, redis: Redis
) -> None:
    worker.heart.registered("AW_1")
    await eventually(worker.told)
    await give_order(redis, "AW_1", WorkerOrder.CORDON)
    await eventually(worker.is_cordoned)
    await redis.flushdb()
    worker.heart.registered("AW_2")

    async def is_new() -> bool:
        told = await worker.told()
        return told is not None and told.worker_id == "AW_2" and told.cordoned

    await eventually(is_new)


async def test_an_order_under_the_id_that_livekit_has_just_replaced_is_obeyed(
    redis: Redis, settings: AgentSettings
) -> None:
    worker = Worker(redis, settings)
    worker.heart.registered("AW_1")
    await give_order(redis, "AW_1", WorkerOrder.CORDON)
    worker.heart.registered("AW_2")
    beating = asyncio.create_task(worker.heart.run())
    await eventually(worker.is_cordoned)
    await stop_all([beating])
    await worker.heart.stop()
    assert await redis.keys("rollcall:worker*") == []


async def count_of(redis: Redis) -> int:
    return (await read_beats(redis)).counts.get(FIELD, 0)


async def grown(redis: Redis) -> None:
    before = await count_of(redis)

    async def more() -> bool:
        return await count_of(redis) > before

    await eventually(more)


async def test_a_job_beats_while_it_lives_and_is_forgotten_at_its_end(redis: Redis) -> None:
    beat = JobBeat(RedisAttempt(redis, SESSION, 2), job_id="AJ_1")
    beat.start()
    await grown(redis)
    await grown(redis)
    await beat.aclose()
    assert (await read_beats(redis)).counts == {}


async def test_a_job_is_heard_again_when_redis_is_back(own_redis: tuple[str, Process]) -> None:
    url, server = own_redis
    redis = connect_redis(url)
    beat = JobBeat(RedisAttempt(redis, SESSION, 2), job_id="AJ_1")
    beat.start()
    await grown(redis)
    await server.stop()
    await server.start()
    await redis.delete(JOB_BEATS)
    await grown(redis)
    await beat.aclose()
    await redis.aclose()


async def test_the_conversation_so_far_is_recalled(redis: Redis) -> None:
    turns = [
        PastTurn(item_id=f"item_{n}", kind="message", role=Role.USER, text=f"{n}", created_at=utc_now())
        for n in range(3)
    ]
    await write_history(redis, SESSION, turns)
    assert await read_past_turns(RedisAttempt(redis, SESSION, 2)) == turns


async def test_a_conversation_that_cannot_be_recalled_goes_on_without(redis: Redis) -> None:
    assert await read_past_turns(RedisAttempt(redis, SESSION, 2)) == []
    await redis.set(history_key(SESSION), '[{"item_id": 1}]')
    assert await read_past_turns(RedisAttempt(redis, SESSION, 2)) == []
    async with connect_redis("redis://127.0.0.1:1") as nowhere:
        assert await read_past_turns(RedisAttempt(nowhere, SESSION, 2)) == []
