"""Transactions that change a session and its attempt lock the session first: two orders could deadlock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlmodel import col

from services.dispatcher.claims import Claim
from services.dispatcher.repository import Repository
from services.verifier.reports.reports import _apply
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentReported, Step
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.attempts import lock_attempts
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.rows import get_session, put_session
from tests.support.sessions import until

Change = Callable[[Database, SessionRow], Coroutine[Any, Any, None]]


async def report_ready(database: Database, row: SessionRow) -> None:
    report = AgentReported(
        session_id=SessionId(row.id),
        attempt=1,
        step=Step.READY,
        room_name=row.room_name,
        worker_id="worker-1",
        agent_name="agent",
        job_id="AJ_1",
    )
    async with database.write() as db:
        found = (await lock_attempts(db, {(row.id, 1)}))[row.id, 1]
        await _apply(db, report, *found, at=utc_now(), now=utc_now())


async def accept_dispatch(database: Database, row: SessionRow) -> None:
    order = DispatchOrder(session_id=SessionId(row.id), attempt=1)
    repository = Repository(database, retry_delay_s=1, now=utc_now)
    await repository.accepted(Claim(row, order, unsure=False), "AD_1", room_sid="RM_1")


@pytest.mark.parametrize("change", [report_ready, accept_dispatch])
async def test_who_waits_for_a_session_holds_nothing_of_its_attempt(
    postgres_url: str, change: Change
) -> None:
    database = Database(postgres_url)
    made = await put_session(database, status=SessionStatus.DISPATCHING, attempt={"number": 1})
    async with database.write() as db:
        (await db.get_one(SessionRow, made.id)).attempt = 1
    row = await get_session(database, made.id)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )

    async def blocked() -> bool:
        async with database.read() as db:
            return bool(await db.scalar(waiting))

    async with database.write() as verdict:
        await verdict.execute(select(SessionRow).where(col(SessionRow.id) == row.id).with_for_update())
        other = asyncio.create_task(change(database, row))
        await until(blocked, what="the other change waits for the session")
        # In the wrong order, the database ends one of the two here.
        await verdict.execute(
            update(AttemptRow).where(col(AttemptRow.session_id) == row.id).values(outcome="joined")
        )
    await other
    await database.close()
