"""Shares are taken back from pools whose sessions fail, by what the database has of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from services.api.health.findings import read_findings
from services.verifier.pools.take_back import Rule, TrafficWatch
from shared.contracts.causes import Cause
from shared.contracts.identifiers import first_id
from shared.contracts.sessions import SessionStatus
from shared.core.pools.traffic import read_traffic, set_traffic
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.rows import last_event, put_session

pytestmark = pytest.mark.sql

RULE = Rule(window=timedelta(minutes=30), min_sessions=3, max_failed_percent=25)
SHARES = {"blue": 90, "green": 10}
JOINED = {"outcome": "joined", "active_at": utc_now()}
MISSING = {"outcome": "missing", "cause": Cause.ENTRYPOINT_FAILED}
LOST = {"outcome": "lost", "cause": Cause.AGENT_LEFT, "active_at": utc_now()}
FULL = {"outcome": "missing", "cause": Cause.WORKERS_AT_CAPACITY}
ABANDONED = {"outcome": "abandoned", "cause": Cause.CALLER_LEFT}
REFUSED = {"outcome": "error", "cause": Cause.LIVEKIT_UNREACHABLE}
UNDER_WAY = {"outcome": "accepted"}


@pytest.fixture
async def watch(database: Database) -> TrafficWatch:
    """Watches traffic that was shared an hour ago."""
    async with database.write() as db:
        await set_traffic(db, "agent", SHARES, now=utc_now() - timedelta(hours=1))
    return TrafficWatch(database=database, rule=RULE, holder="me", now=utc_now)


async def sessions_of(
    database: Database, pool: str | None, *attempts: dict[str, Any], **row: Any
) -> Sequence[str]:
    """A session for each of these attempts, which went to the pool."""
    return [
        (
            await put_session(
                database,
                **{"deployment": pool, "attempt": {**attempt, "deployment": pool}, **row},
            )
        ).id
        for attempt in attempts
    ]


async def shares(database: Database) -> dict[str, int]:
    async with database.read() as db:
        row = await read_traffic(db, "agent")
    assert row is not None
    return row.shares


async def test_the_share_of_a_failing_pool_is_taken_back_once_and_told(
    database: Database, watch: TrafficWatch
) -> None:
    await sessions_of(database, "blue", JOINED, JOINED, JOINED, MISSING)
    green = await sessions_of(database, "green", JOINED, LOST, MISSING)
    await watch.look()
    await watch.look()
    assert await shares(database) == {"blue": 100, "green": 0}
    told = await last_event(database, green[-1])
    assert {name: told[name] for name in ("agent_name", "deployment", "percent", "sessions", "failed")} == {
        "agent_name": "agent",
        "deployment": "green",
        "percent": 10,
        "sessions": 3,
        "failed": 2,
    }
    assert told["causes"] == {"agent_left": 1, "entrypoint_failed": 1}
    async with database.read() as db:
        row = await read_traffic(db, "agent")
    assert row is not None
    assert [one["deployment"] for one in row.taken_back] == ["green"]
    of_green = {"agent_name": "agent", "deployment": "green"}
    await watch.look()
    assert REGISTRY.get_sample_value("fleet_pool_share_ratio", of_green) == 0
    assert REGISTRY.get_sample_value("fleet_pool_taken_back_ratio", of_green) == 0.1
    [finding] = await read_findings(database, now=utc_now())
    assert (finding.code, finding.evidence["deployment"], finding.evidence["failed"]) == (
        "share_taken_back",
        "green",
        2,
    )


@pytest.mark.parametrize(
    "green",
    [
        [JOINED, JOINED, JOINED, MISSING],
        [MISSING, MISSING],
        [FULL] * 4,
        [ABANDONED] * 4,
        [REFUSED] * 4,
        [MISSING, MISSING, UNDER_WAY],
    ],
)
async def test_what_is_no_fault_of_the_pool_or_too_little_changes_nothing(
    database: Database, watch: TrafficWatch, green: list[dict[str, Any]]
) -> None:
    await sessions_of(database, "blue", *[JOINED] * 4)
    await sessions_of(database, "green", *green)
    await watch.look()
    assert await shares(database) == SHARES


async def test_sessions_of_before_of_others_and_of_no_other_pool_do_not_count(
    database: Database, watch: TrafficWatch
) -> None:
    then = first_id(utc_now() - timedelta(minutes=31))
    for number in range(3):
        await sessions_of(database, "green", MISSING, id=f"{then}-7000-8000-00000000000{number}")
    await sessions_of(database, "green", *[MISSING] * 3, agent_name="billing")
    await sessions_of(database, "blue", *[JOINED] * 3)
    await watch.look()
    assert await shares(database) == SHARES


async def test_a_session_that_moved_on_counts_where_each_attempt_was(
    database: Database, watch: TrafficWatch
) -> None:
    await sessions_of(database, "blue", *[JOINED] * 3)
    for attempt in [LOST] * 3:
        await put_session(database, deployment="blue", revivals=1, attempt={**attempt, "deployment": "green"})
    await watch.look()
    assert await shares(database) == {"blue": 100, "green": 0}


async def test_sessions_that_no_worker_was_tried_for_count(database: Database, watch: TrafficWatch) -> None:
    await sessions_of(database, "blue", *[JOINED] * 3)
    failed: dict[str, Any] = {"status": SessionStatus.FAILED, "cause": Cause.NO_WORKER_REGISTERED}
    for _ in range(3):
        await put_session(database, deployment="green", **failed)
    await watch.look()
    assert await shares(database) == {"blue": 100, "green": 0}


async def test_a_share_that_is_given_back_is_judged_by_new_sessions(
    database: Database, watch: TrafficWatch, database_url: str, redis_url: str
) -> None:
    await sessions_of(database, "blue", *[JOINED] * 3)
    await sessions_of(database, "green", *[MISSING] * 3)
    await watch.look()
    route = "/v1/agents/agent/traffic"
    async with in_process(api_settings(database_url, redis_url)) as client:
        told = (await client.get(route)).json()
        assert (told["shares"], told["taken_back"][0]["percent"]) == ({"blue": 100, "green": 0}, 10)
        given: httpx.Response = await client.put(route, json=SHARES)
        assert (given.json()["shares"], given.json()["taken_back"]) == (SHARES, [])
    await watch.look()
    assert await shares(database) == SHARES
