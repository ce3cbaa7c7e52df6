"""Each session is counted once, by its outcome, and only after the commit."""

from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from shared.contracts.causes import Cause
from shared.contracts.events import AgentJoined, AgentLost, DispatchStarted
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.metrics import agent_name_seen
from shared.core.sessions.repository import advance, fail
from shared.core.sessions.tables import SessionRow
from shared.core.workers.registry import read_fleet
from shared.platform import agent_names
from shared.platform.database.database import Database
from tests.integration.api_client import beat_for_ever
from tests.integration.rows import put_session
from tests.unit.making import T0, make_heartbeat

S = SessionStatus
JOINED = AgentJoined(attempt=1, participant_identity="agent-1", participant_sid="PA_1", join_seconds=1)
LOST = AgentLost(attempt=1, cause=Cause.WORKER_DIED, evidence={}, revival=1)


@pytest.fixture
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An agent name that no other test counts."""
    monkeypatch.setattr(agent_names, "_unproven", set())
    monkeypatch.setattr(agent_names, "_proven", set())
    return str(request.node.name)


def counted(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


def joins(name: str, result: str) -> float | None:
    return counted("session_joins_total", result=result, agent_name=name, canary="false")


async def move(database: Database, row: SessionRow, status: S, event: Any, **changes: Any) -> None:
    async with database.write() as db:
        assert await advance(db, row, status, event=event, now=T0, **changes)


async def test_a_session_is_requested_once_and_joined_once_however_often_it_is_revived(
    database: Database, name: str
) -> None:
    row = await put_session(database, agent_name=name)
    assert counted("session_requests_total", agent_name=name, canary="false") == 1
    await move(database, row, S.DISPATCHING, DispatchStarted(attempt=1, max_attempts=3))
    await move(database, row, S.ACTIVE, JOINED)
    await move(database, row, S.DISPATCHING, LOST, revivals=1)
    await move(database, row, S.ACTIVE, JOINED)
    assert joins(name, "joined") == 1
    async with database.write() as db:
        assert await fail(db, row, cause=Cause.AGENT_LEFT, evidence={}, now=T0)
    # It has failed, but it had got its agent.
    assert joins(name, "failed") is None
    assert counted("session_failures_total", cause="agent_left", agent_name=name) == 1
    assert counted("session_ends_total", status="failed", agent_name=name) == 1


async def test_a_session_that_never_had_an_agent_is_a_failed_join(database: Database, name: str) -> None:
    row = await put_session(database, agent_name=name)
    async with database.write() as db:
        assert await fail(db, row, cause=Cause.NO_WORKER_REGISTERED, evidence={}, now=T0)
    assert joins(name, "failed") == 1


async def test_what_is_not_committed_or_lost_to_another_writer_is_not_counted(
    database: Database, name: str
) -> None:
    row = await put_session(database, agent_name=name)
    with suppress(LookupError):
        async with database.write() as db:
            assert await fail(db, row, cause=Cause.UNKNOWN, evidence={}, now=T0)
            raise LookupError
    assert joins(name, "failed") is None
    stale = await put_session(database, agent_name=name)
    stale.version += 1
    async with database.write() as db:
        assert not await fail(db, stale, cause=Cause.UNKNOWN, evidence={}, now=T0)
    assert joins(name, "failed") is None


def test_the_counts_of_a_name_begin_at_zero(name: str) -> None:
    agent_name_seen(name)
    assert joins(name, "failed") == 0
    assert counted("session_failures_total", cause="no_worker_registered", agent_name=name) == 0
    assert counted("session_level_seconds_count", level="active", agent_name=name) == 0


def test_only_so_many_names_are_told_apart(name: str) -> None:
    labels = {agent_names.agent_label(f"{name}-{number}") for number in range(100)}
    assert len(labels) == agent_names.MOST_UNPROVEN + 1
    assert agent_names.OTHERS in labels
    assert agent_names.agent_label(f"{name}-0") == f"{name}-0"


async def test_names_that_clients_make_up_push_no_worker_out_of_the_metrics(redis: Redis, name: str) -> None:
    for number in range(100):
        agent_names.agent_label(f"junk-{number}")
    await beat_for_ever(redis, make_heartbeat(agent_name=name))
    await read_fleet(redis)
    assert agent_names.agent_label(name) == name


async def test_nor_an_agent_whose_worker_does_not_report(database: Database, name: str) -> None:
    for number in range(100):
        agent_names.agent_label(f"junk-{number}")
    row = await put_session(database, agent_name=name)
    await move(database, row, S.DISPATCHING, DispatchStarted(attempt=1, max_attempts=3))
    await move(database, row, S.ACTIVE, JOINED, active_at=T0)
    assert joins(name, "joined") == 1
