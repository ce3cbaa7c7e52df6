"""The registry knows the live workers by their exact names; unreadable is not the same as empty."""

from typing import Any

import pytest
from redis.asyncio import Redis

from devstack.process import Process
from shared.contracts.causes import Cause
from shared.contracts.keys import WORKER_INDEX, last_beat_key, worker_key
from shared.contracts.workers import WorkerHeartbeat
from shared.core.workers import registry
from shared.core.workers.registry import Fleet, read_fleet, remove_worker, write_heartbeat
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE
from tests.support.sessions import until
from tests.unit.making import make_heartbeat


async def test_a_heartbeat_is_read_as_it_was_written(redis: Redis) -> None:
    beat = make_heartbeat(active_jobs=3)
    await write_heartbeat(redis, beat)
    await write_heartbeat(redis, beat)
    assert (await read_fleet(redis)).workers == [beat]


async def test_without_a_worker_the_fleet_is_empty(redis: Redis) -> None:
    assert await read_fleet(redis) == Fleet()


async def fall_silent(redis: Redis, beat: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker beats once more, and then no more."""
    with monkeypatch.context() as short:
        short.setattr(registry, "HEARTBEAT_EXPIRY_S", 0.05)
        await write_heartbeat(redis, beat)

    async def silent() -> bool:
        return beat not in (await read_fleet(redis)).workers

    await until(silent, what="the worker lives no more")


async def test_a_worker_that_beats_no_more_is_lost_until_it_is_heard_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, other = make_heartbeat("dead", sessions=["s-1"]), make_heartbeat("alive")
    await write_heartbeat(redis, other)
    await fall_silent(redis, beat, monkeypatch)
    assert await read_fleet(redis) == Fleet([other], lost=[beat])
    assert 1_190_000 < await redis.pttl(last_beat_key("dead")) <= 1_200_000
    await write_heartbeat(redis, beat)
    assert await read_fleet(redis) == Fleet([other, beat])


async def test_a_lost_worker_that_livekit_lists_no_more_is_forgotten(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_heartbeat(redis, make_heartbeat("alive"))
    monkeypatch.setattr(registry, "LISTED_FOR_S", 0.06)
    await fall_silent(redis, make_heartbeat("dead"), monkeypatch)

    async def forgotten() -> bool:
        return (await read_fleet(redis)).lost == []

    await until(forgotten, what="the dead worker is forgotten")
    assert await redis.zrange(WORKER_INDEX, 0, -1) == ["alive"]


def test_why_no_worker_would_take_a_job_names_the_lost_ones() -> None:
    lost = [
        make_heartbeat("w-1"),
        make_heartbeat("w-2", deployment="blue"),
        make_heartbeat("w-3", agent_name="x"),
    ]
    assert Fleet(lost=lost).why_none("agent") == (
        Cause.NO_WORKER_REGISTERED,
        {"agent_name": "agent", "lost": ["w-1", "w-2"]},
    )
    alike = Fleet([make_heartbeat("w-4", agent_name="Agent")], lost=lost)
    assert alike.why_none("agent", "blue") == (
        Cause.NO_WORKER_REGISTERED,
        {"agent_name": "agent", "names_seen": ["Agent"], "nearest": "Agent", "lost": ["w-2"]},
    )


async def test_a_heartbeat_expires_by_itself_a_few_beats_after_the_last(redis: Redis) -> None:
    await write_heartbeat(redis, make_heartbeat())
    assert 2_000 < await redis.pttl(worker_key("worker-1")) <= 3_000


async def test_a_worker_that_shut_down_is_forgotten_at_once(redis: Redis) -> None:
    await write_heartbeat(redis, make_heartbeat())
    await remove_worker(redis, "worker-1")
    await remove_worker(redis, "worker-1")
    assert await read_fleet(redis) == Fleet()


async def test_workers_are_found_under_exactly_their_name(redis: Redis) -> None:
    for worker_id, name in (("w-2", "agent"), ("w-1", "agent"), ("w-3", "Agent"), ("w-4", "billing")):
        await write_heartbeat(redis, make_heartbeat(worker_id, agent_name=name))
    fleet = await read_fleet(redis)
    assert [worker.worker_id for worker in fleet.named("agent")] == ["w-1", "w-2"]
    assert fleet.names() == ["Agent", "agent", "billing"]
    assert fleet.named("agen") == []


async def test_free_slots_leave_out_who_drains_is_full_or_not_registered(redis: Redis) -> None:
    await write_heartbeat(redis, make_heartbeat("free", active_jobs=8))
    await write_heartbeat(redis, make_heartbeat("full", active_jobs=12))
    await write_heartbeat(redis, make_heartbeat("draining", draining=True))
    await write_heartbeat(redis, make_heartbeat("cordoned", cordoned=True))
    await write_heartbeat(redis, make_heartbeat("connecting", registered=False))
    fleet = await read_fleet(redis)
    assert fleet.free_slots("agent") == 2
    assert "connecting" not in [worker.worker_id for worker in fleet.named("agent")]


async def test_the_sessions_of_a_name_are_those_of_all_its_workers(redis: Redis) -> None:
    await write_heartbeat(redis, make_heartbeat("w-1", sessions=["s-1", "s-2"]))
    await write_heartbeat(redis, make_heartbeat("w-2", sessions=["s-2", "s-3"], draining=True))
    await write_heartbeat(redis, make_heartbeat("w-3", sessions=["s-4"], agent_name="billing"))
    fleet = await read_fleet(redis)
    assert fleet.sessions("agent") == {"s-1", "s-2", "s-3"}
    assert fleet.sessions("nobody") == set()


MISMATCH = {"agent_name": "agent", "names_seen": ["Agent", "x"], "nearest": "Agent"}


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ([], (Cause.NO_WORKER_REGISTERED, {"agent_name": "agent"})),
        (
            [("w-1", {"agent_name": "x"}), ("w-2", {"agent_name": "Agent"})],
            (Cause.AGENT_NAME_MISMATCH, MISMATCH),
        ),
        (
            [("w-1", {"registered": False}), ("w-2", {"agent_name": "x"})],
            (Cause.NO_WORKER_REGISTERED, {"agent_name": "agent", "not_connected": ["w-1"]}),
        ),
        ([("w-1", {"active_jobs": 10})], (Cause.WORKERS_AT_CAPACITY, {"workers": ["w-1"]})),
        ([("w-1", {"draining": True})], (Cause.WORKER_DRAINING, {"workers": ["w-1"]})),
        (
            [("w-1", {"draining": True}), ("w-2", {"cordoned": True})],
            (Cause.WORKER_DRAINING, {"workers": ["w-1", "w-2"], "cordoned": ["w-2"]}),
        ),
        (
            [("w-1", {"active_jobs": 10}), ("w-2", {"cordoned": True})],
            (Cause.WORKERS_AT_CAPACITY, {"workers": ["w-1", "w-2"], "cordoned": ["w-2"]}),
        ),
        ([("w-1", {"draining": True}), ("w-2", {})], None),
    ],
)
def test_why_no_worker_would_take_a_job(
    workers: list[tuple[str, dict[str, Any]]], why: tuple[Cause, dict[str, Any]] | None
) -> None:
    fleet = Fleet([make_heartbeat(worker_id, **changes) for worker_id, changes in workers])
    assert fleet.why_none("agent") == why


@pytest.mark.parametrize("value", ["", "not json", "{}", '{"worker_id": 1}'])
async def test_a_heartbeat_that_cannot_be_read_hides_no_other(redis: Redis, value: str) -> None:
    await write_heartbeat(redis, make_heartbeat("good"))
    await redis.set(worker_key("bad"), value)
    await redis.zadd(WORKER_INDEX, {"bad": 1})
    assert [worker.worker_id for worker in (await read_fleet(redis)).workers] == ["good"]


async def test_a_heartbeat_of_a_later_version_is_read(redis: Redis) -> None:
    beat = make_heartbeat("later")
    await write_heartbeat(redis, beat)
    await redis.set(worker_key("later"), beat.model_dump_json()[:-1] + ',"colour":"blue"}')
    assert (await read_fleet(redis)).workers == [beat]


@pytest.mark.product_limits
async def test_a_registry_that_is_down_raises_and_does_not_say_no_worker(
    own_redis: tuple[str, Process],
) -> None:
    url, server = own_redis
    patient, redis = connect_redis(url), connect_redis(url, timeout_s=0.2)
    await write_heartbeat(patient, make_heartbeat())
    await patient.aclose()
    server.freeze()
    with pytest.raises(UNREACHABLE):
        await read_fleet(redis)
    server.thaw()
    await server.stop()
    with pytest.raises(UNREACHABLE):
        await read_fleet(redis)
    with pytest.raises(UNREACHABLE):
        await write_heartbeat(redis, make_heartbeat())
    await redis.aclose()
