"""The forecast says why the next session would fail, and since when."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from devstack.servers import LiveKitServer
from services.api.health import forecast as forecasting
from services.api.health.forecast import Forecast, Outlook
from services.api.health.recent_sessions import STALLED_AFTER
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault
from shared.core.sessions.foreign_agents import foreign_agent_seen
from shared.core.workers.registry import remove_worker
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKit
from tests.integration.api_client import api_settings, beat_for_ever
from tests.integration.background import in_background
from tests.integration.rows import put_session
from tests.support.sessions import until
from tests.unit.making import T0, FakeClock, make_heartbeat

S = SessionStatus


@pytest.fixture
async def forecast(
    database: Database, redis: Redis, clock: FakeClock, livekit_server: LiveKitServer
) -> AsyncIterator[Forecast]:
    settings = api_settings(
        "sqlite+aiosqlite:///unused.db",
        "redis://localhost",
        livekit_url=livekit_server.url,
        livekit_api_key=livekit_server.api_key,
        livekit_api_secret=livekit_server.api_secret,
    )
    livekit = LiveKit(settings)
    yield Forecast(database=database, redis=redis, livekit=livekit, agent_name="agent", now=clock)
    await livekit.close()


def causes(outlook: Outlook) -> list[tuple[str, bool]]:
    return [(root.cause, root.fatal) for root in outlook.root_causes]


def a_fault(cause: Cause = Cause.INFERENCE_UNAVAILABLE, since: datetime = T0) -> WorkerFault:
    return WorkerFault(cause=cause, detail="connection refused", since=since)


async def test_a_cause_tells_since_when_it_is_seen_without_a_break(
    forecast: Forecast, redis: Redis, clock: FakeClock
) -> None:
    async def since() -> datetime | None:
        clock.forward(seconds=2)
        roots = (await forecast.make_outlook()).root_causes
        return roots[0].since if roots else None

    assert [await since() for _ in range(3)] == [T0 + timedelta(seconds=2)] * 3
    await beat_for_ever(redis, make_heartbeat())
    assert await since() is None
    await remove_worker(redis, "worker-1")
    assert [await since() for _ in range(2)] == [T0 + timedelta(seconds=10)] * 2


async def test_another_cause_has_a_beginning_of_its_own(
    forecast: Forecast, redis: Redis, clock: FakeClock
) -> None:
    await forecast.make_outlook()
    clock.forward(seconds=2)
    await beat_for_ever(redis, make_heartbeat(draining=True))
    [root] = (await forecast.make_outlook()).root_causes
    assert (root.cause, root.since) == (Cause.WORKER_DRAINING, T0 + timedelta(seconds=2))
    assert root.as_json() == {
        "code": "worker_draining",
        "fatal": True,
        "since": (T0 + timedelta(seconds=2)).isoformat(),
        "evidence": {"workers": ["worker-1"]},
        "fix": ADVICE[Cause.WORKER_DRAINING],
    }


async def test_it_looks_by_itself_so_that_a_cause_is_not_only_as_old_as_the_question(
    forecast: Forecast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasting, "INTERVAL_S", 0.01)

    async def seen() -> bool:
        return bool(forecast._since)

    async with in_background(forecast.run()):
        await until(seen, what="the forecast has looked")
    clock.forward(minutes=5)
    [root] = (await forecast.make_outlook()).root_causes
    assert root.since == T0


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        ([{"faults": [a_fault()]}], [("inference_unavailable", True)]),
        ([{"faults": [a_fault()]}, {}], [("inference_unavailable", False)]),
        # The one without a fault takes no more jobs.
        (
            [{"faults": [a_fault()]}, {"active_jobs": 10}],
            [("inference_unavailable", True)],
        ),
        (
            [{"faults": [a_fault()]}, {"faults": [a_fault(Cause.INFERENCE_QUOTA)]}],
            [("inference_unavailable", True), ("inference_quota", True)],
        ),
        (
            [{"faults": [a_fault()], "active_jobs": 10}, {}],
            [("inference_unavailable", False)],
        ),
        (
            [{"faults": [a_fault()], "active_jobs": 10}],
            [("workers_at_capacity", True), ("inference_unavailable", False)],
        ),
        ([{"faults": [a_fault()], "agent_name": "other"}, {}], []),
    ],
)
async def test_a_fault_of_workers_is_fatal_if_the_next_job_can_only_go_to_such_a_one(
    forecast: Forecast, redis: Redis, workers: list[dict[str, Any]], found: list[tuple[str, bool]]
) -> None:
    for number, worker in enumerate(workers):
        await beat_for_ever(redis, make_heartbeat(f"w-{number}", **worker))
    outlook = await forecast.make_outlook()
    assert causes(outlook) == found
    assert outlook.ok is not any(fatal for _, fatal in found)


async def test_a_fault_names_its_workers_and_is_as_old_as_the_first_of_them_says(
    forecast: Forecast, redis: Redis
) -> None:
    for minutes in (2, 5):
        fault = a_fault(since=T0 - timedelta(minutes=minutes))
        await beat_for_ever(redis, make_heartbeat(f"w-{minutes}", faults=[fault]))
    [root] = (await forecast.make_outlook()).root_causes
    assert root.since == T0 - timedelta(minutes=5)
    assert [worker["worker_id"] for worker in root.evidence["workers"]] == ["w-2", "w-5"]
    assert root.evidence["workers"][0]["detail"] == "connection refused"


@pytest.mark.parametrize(
    ("row", "stalled"),
    [
        ({}, True),
        ({"requested_at": T0 - STALLED_AFTER}, False),
        ({"waiting_for": Cause.WORKERS_AT_CAPACITY}, False),
        ({"status": S.DISPATCHING}, False),
        ({"status": S.FAILED}, False),
    ],
)
async def test_sessions_that_nobody_dispatches_are_a_queue_that_stands_still(
    forecast: Forecast, database: Database, redis: Redis, row: dict[str, Any], stalled: bool
) -> None:
    await beat_for_ever(redis, make_heartbeat())
    asked = T0 - timedelta(seconds=10)
    await put_session(database, **{"requested_at": asked, "next_check_at": T0, **row})
    outlook = await forecast.make_outlook()
    assert causes(outlook) == ([("queue_stalled", True)] if stalled else [])
    if stalled:
        assert outlook.root_causes[0].since == asked
        assert outlook.root_causes[0].evidence["sessions"] == 1


async def a_canary(database: Database, status: SessionStatus, *, minutes_ago: int, **row: Any) -> str:
    at = T0 - timedelta(minutes=minutes_ago)
    values: dict[str, Any] = {"canary": True, "requested_at": at, "status": status}
    if status in (S.ACTIVE, S.ENDED):
        values |= {"active_at": at, "ready_at": at}
    if status == S.FAILED:
        values |= {"ended_at": at, "cause": Cause.WORKER_DIED, "evidence": {"worker_id": "w-1"}}
    return (await put_session(database, **{**values, **row})).id


@pytest.fixture
async def worker(redis: Redis) -> None:
    await beat_for_ever(redis, make_heartbeat())


@pytest.mark.usefixtures("worker")
async def test_a_canary_that_failed_is_why_the_next_session_would(
    forecast: Forecast, database: Database
) -> None:
    await a_canary(database, S.ENDED, minutes_ago=10)
    canary = await a_canary(database, S.FAILED, minutes_ago=5)
    outlook = await forecast.make_outlook()
    [root] = outlook.root_causes
    at = T0 - timedelta(minutes=5)
    assert (root.cause, root.fatal, root.since) == (Cause.WORKER_DIED, True, at)
    assert root.evidence == {"canary": canary, "worker_id": "w-1"}
    assert outlook.as_json()["last_canary"] == {
        "session_id": canary,
        "at": at.isoformat(),
        "ok": False,
        "cause": "worker_died",
    }


@pytest.mark.usefixtures("worker")
async def test_a_join_after_it_outweighs_a_canary_that_failed(forecast: Forecast, database: Database) -> None:
    await a_canary(database, S.FAILED, minutes_ago=5)
    await put_session(database, agent_name="other", active_at=T0 - timedelta(minutes=1))
    assert causes(await forecast.make_outlook()) == [("worker_died", True)]
    await put_session(database, active_at=T0 - timedelta(minutes=1))
    outlook = await forecast.make_outlook()
    assert causes(outlook) == []
    assert outlook.as_json()["last_canary"]["ok"] is False


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("status", [S.ACTIVE, S.ENDED])
async def test_a_canary_whose_agent_was_proven_has_passed(
    forecast: Forecast, database: Database, status: SessionStatus
) -> None:
    await a_canary(database, S.FAILED, minutes_ago=10)
    canary = await a_canary(database, status, minutes_ago=5)
    body = (await forecast.make_outlook()).as_json()
    at = (T0 - timedelta(minutes=5)).isoformat()
    assert body["last_canary"] == {"session_id": canary, "at": at, "ok": True, "cause": None}
    assert (body["last_proven_join"], body["root_cause"]) == (at, [])


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("status", [S.REQUESTED, S.DISPATCHED, S.CANCELLED])
async def test_a_canary_without_a_verdict_does_not_hide_the_one_before(
    forecast: Forecast, database: Database, status: SessionStatus
) -> None:
    failed = await a_canary(database, S.FAILED, minutes_ago=5)
    await a_canary(database, status, minutes_ago=0)
    outlook = await forecast.make_outlook()
    assert outlook.as_json()["last_canary"]["session_id"] == failed
    assert causes(outlook) == [("worker_died", True)]


@pytest.mark.usefixtures("worker")
async def test_a_canary_of_another_agent_says_nothing_of_this_one(
    forecast: Forecast, database: Database
) -> None:
    await a_canary(database, S.FAILED, minutes_ago=5, agent_name="other")
    outlook = await forecast.make_outlook()
    assert (outlook.as_json()["last_canary"], causes(outlook)) == (None, [])


async def test_a_cause_that_is_still_there_is_told_once_and_not_once_more_by_the_canary(
    forecast: Forecast, database: Database
) -> None:
    await a_canary(database, S.FAILED, minutes_ago=5, cause=Cause.NO_WORKER_REGISTERED)
    [root] = (await forecast.make_outlook()).root_causes
    assert (root.cause, root.evidence) == (Cause.NO_WORKER_REGISTERED, {"agent_name": "agent"})


async def test_an_agent_that_nobody_dispatched_is_a_finding_for_a_while(
    forecast: Forecast, database: Database, clock: FakeClock
) -> None:
    row = await put_session(database, status=S.ACTIVE)
    assert (await forecast.make_outlook()).findings == []
    await foreign_agent_seen(database, row, "agent-AJ_9", removed=True, now=clock())
    [finding] = (await forecast.make_outlook()).as_json()["findings"]
    assert (finding["code"], finding["seen_at"]) == ("unnamed_worker", T0.isoformat())
    assert finding["evidence"]["participant_identity"] == "agent-AJ_9"
    assert "agent_name" in finding["fix"]
    clock.forward(minutes=16)
    assert (await forecast.make_outlook()).findings == []
