"""The gauges of what belongs to no single process."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.verifier.gauges import gauges
from services.verifier.gauges.queues import RedisQueues
from services.verifier.gauges.survey import LEASE, Gauger
from shared.contracts.causes import Cause
from shared.contracts.keys import DISPATCH_QUEUE, DISPATCH_TASK, worker_key
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault
from shared.core.workers.circuit import open_circuit
from shared.core.workers.registry import remove_worker
from shared.core.workers.track_record import PAUSES, circuit_of
from shared.platform.celery.tasks import TaskSender
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.lease import Lease
from tests.integration.api_client import beat_for_ever
from tests.integration.background import in_background
from tests.integration.rows import put_session
from tests.stack_fixtures.waiting import eventually
from tests.unit.making import T0, make_heartbeat

pytestmark = pytest.mark.sql


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    gauges.forget_all()
    yield
    gauges.forget_all()


@pytest.fixture
def gauger(database: Database, redis: Redis) -> Gauger:
    return Gauger(database=database, redis=redis, queues=RedisQueues(redis), holder="me", now=utc_now)


def shown(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


async def test_the_fleet_is_counted_by_name_and_state(gauger: Gauger, redis: Redis) -> None:
    fault = WorkerFault(cause=Cause.INFERENCE_UNAVAILABLE, detail="away", since=T0)
    for beat in (
        make_heartbeat("one", active_jobs=3, max_jobs=10),
        make_heartbeat("two", active_jobs=2, max_jobs=10, draining=True),
        make_heartbeat("four", cordoned=True),
        make_heartbeat("three", active_jobs=0, max_jobs=10, registered=False, faults=[fault]),
    ):
        await beat_for_ever(redis, beat)
    await beat_for_ever(redis, make_heartbeat("five", active_jobs=0, max_jobs=0))
    await open_circuit(redis, circuit_of("five"), "took none", PAUSES)
    await gauger.look_at_fleet()
    states = {s: shown("fleet_workers", agent_name="agent", state=s) for s in gauges.WORKER_STATES}
    assert states == {"serving": 1, "left_out": 1, "cordoned": 1, "draining": 1, "unregistered": 1}
    assert shown("fleet_slots", agent_name="agent", state="busy") == 5
    assert shown("fleet_slots", agent_name="agent", state="free") == 7
    assert shown("fleet_load_ratio", agent_name="agent") == pytest.approx(1 / 8)
    assert shown("fleet_workers_faulty", agent_name="agent") == 1


async def test_a_name_whose_last_worker_is_gone_has_none(gauger: Gauger, redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat("one"))
    await gauger.look_at_fleet()
    await remove_worker(redis, "one")
    await gauger.look_at_fleet()
    assert shown("fleet_workers", agent_name="agent", state="serving") == 0
    gauges.forget_fleet()
    assert shown("fleet_workers", agent_name="agent", state="serving") is None


async def test_a_queue_shows_its_length_and_the_age_of_its_oldest_task(
    gauger: Gauger, tasks: TaskSender
) -> None:
    await gauger.look_at_queues()
    assert shown("celery_queue_tasks", queue=DISPATCH_QUEUE) == 0
    assert shown("celery_queue_oldest_seconds", queue=DISPATCH_QUEUE) == 0
    await tasks.send(DISPATCH_TASK, ["older"])
    await asyncio.sleep(0.3)
    await tasks.send(DISPATCH_TASK, ["younger"])
    await gauger.look_at_queues()
    assert shown("celery_queue_tasks", queue=DISPATCH_QUEUE) == 2
    age = shown("celery_queue_oldest_seconds", queue=DISPATCH_QUEUE)
    assert age is not None
    assert 0.3 <= age < 60


async def test_open_sessions_and_unpublished_events_are_counted(gauger: Gauger, database: Database) -> None:
    now = utc_now()
    requested_at = now - timedelta(seconds=20)
    await put_session(database, requested_at=requested_at, next_check_at=now)
    await put_session(database, status=SessionStatus.ACTIVE, requested_at=now, next_check_at=now)
    await put_session(database, status=SessionStatus.ENDED, requested_at=now, next_check_at=now)
    await gauger.look_at_database()
    assert shown("sessions_open", status="requested", agent_name="agent") == 1
    assert shown("sessions_open", status="active", agent_name="agent") == 1
    assert shown("sessions_open", status="dispatched", agent_name="agent") == 0
    assert shown("sessions_open", status="ended", agent_name="agent") is None
    assert shown("outbox_unpublished_events") == 3
    age = shown("outbox_oldest_seconds")
    assert age is not None
    assert 20 <= age < 120


async def test_only_the_holder_shows_anything(database: Database, gauger: Gauger) -> None:
    await put_session(database, next_check_at=utc_now())
    async with in_background(gauger.run()):
        await eventually(lambda: shown("sessions_open", status="requested", agent_name="agent") == 1)
    other = Lease(database, name=LEASE, holder="other", term=timedelta(minutes=5), now=utc_now)
    assert await other.hold()
    async with in_background(gauger.run()):
        await eventually(lambda: shown("sessions_open", status="requested", agent_name="agent") is None)
        assert str(shown("outbox_unpublished_events")) == "nan"


async def test_a_lost_worker_is_counted_and_told_once(gauger: Gauger, redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat("one", sessions=["s-1"]))
    await gauger.look_at_fleet()
    assert shown("fleet_workers_lost", agent_name="agent") == 0
    await redis.delete(worker_key("one"))
    with capture_logs() as logged:
        for _ in range(2):
            await gauger.look_at_fleet()
            assert shown("fleet_workers_lost", agent_name="agent") == 1
    [told] = [line for line in logged if line["event"] == "worker_lost"]
    assert (told["worker_id"], told["host"], told["sessions"]) == ("one", "host-1", 1)


async def test_a_registry_that_cannot_be_read_is_not_shown_as_empty(
    database: Database, redis: Redis, own_redis: tuple[str, object]
) -> None:
    url, server = own_redis
    away = Redis.from_url(url, socket_timeout=0.2)
    gauger = Gauger(database=database, redis=away, queues=RedisQueues(redis), holder="me", now=utc_now)
    await beat_for_ever(redis, make_heartbeat("one"))
    gauges.fleet([make_heartbeat("one")])
    await server.stop()  # type: ignore[attr-defined]
    looking = asyncio.create_task(gauger.run())
    await eventually(lambda: shown("fleet_workers", agent_name="agent", state="serving") is None)
    await eventually(lambda: shown("outbox_unpublished_events") == 0)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await away.aclose()
