"""The periodic canary: one in each interval, whichever replica starts it, and none where it is off."""

import asyncio
import json

import pytest
from sqlalchemy import select

from cli.client.target import Target
from cli.commands.talk import play_canary
from services.api.sessions.canary import Canaries
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import AgentJoined, DispatchStarted, SessionEnded
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import advance, fail
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process, served
from tests.integration.background import in_background
from tests.integration.rows import count, get_session
from tests.support.sessions import until
from tests.unit.making import FakeClock


@pytest.fixture
async def replicas(
    database: Database, database_url: str, redis_url: str, relay: Relay, clock: FakeClock
) -> list[Canaries]:
    settings = api_settings(database_url, redis_url, canary_interval_s=60)
    return [
        Canaries(settings=settings, database=database, relay=relay, holder=f"api-{number}", now=clock)
        for number in range(4)
    ]


async def started(replicas: list[Canaries]) -> list[str]:
    found = await asyncio.gather(*(replica.start_if_due() for replica in replicas))
    return [session_id for session_id in found if session_id is not None]


@pytest.mark.sql
async def test_of_several_replicas_one_starts_the_canary_of_an_interval(
    replicas: list[Canaries], database: Database, clock: FakeClock
) -> None:
    for _ in range(3):
        [session_id] = await started(replicas)
        row = await get_session(database, session_id)
        assert (row.canary, row.required_level, row.agent_name) == (True, "ready", "agent")
        assert row.requested_at == clock.time
        clock.forward(seconds=59)
        assert await started(replicas) == []
        clock.forward(seconds=1)
    assert await count(database, "session") == 3


async def test_canaries_come_by_themselves_where_they_are_wanted(
    database: Database, database_url: str, redis_url: str
) -> None:
    async with in_process(api_settings(database_url, redis_url, canary_interval_s=0.05)) as client:

        async def canaries() -> bool:
            page = (await client.get("/v1/sessions", params={"canary": "true"})).json()
            return len(page["sessions"]) >= 2

        await until(canaries, what="two canaries were started")


async def test_without_an_interval_there_is_no_canary(database_url: str, redis_url: str) -> None:
    names = {task.get_name() for task in asyncio.all_tasks()}
    async with in_process(api_settings(database_url, redis_url)):
        running = {task.get_name() for task in asyncio.all_tasks()} - names
    assert {"relay", "news", "forecast"} <= running
    assert "canary" not in running


async def fate_of_canary(database: Database, *, passes: bool) -> None:
    """Play the dispatcher, verifier and agent of the next canary."""

    async def there() -> SessionRow | None:
        async with database.read() as db:
            return await db.scalar(select(SessionRow).limit(1))

    row = await until(there, what="the canary is there")
    now = utc_now()
    async with database.write() as db:
        if not passes:
            await fail(db, row, cause=Cause.NO_WORKER_REGISTERED, evidence={"agent_name": "agent"}, now=now)
            return
        started = DispatchStarted(attempt=1, max_attempts=3)
        await advance(db, row, SessionStatus.DISPATCHING, event=started, now=now, attempt=1)
        joined = AgentJoined(attempt=1, participant_identity="a", participant_sid="PA_1", join_seconds=0.5)
        await advance(db, row, SessionStatus.ACTIVE, event=joined, now=now, active_at=now, ready_at=now)
        await advance(db, row, SessionStatus.ENDED, event=SessionEnded(reason="canary passed"), now=now)


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("as_json", [True, False])
async def test_the_command_tells_the_verdict_by_its_words_and_its_exit_code(
    database: Database,
    database_url: str,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    passes: bool,
    as_json: bool,
) -> None:
    async with (
        served(api_settings(database_url, redis_url)) as client,
        in_background(fate_of_canary(database, passes=passes)),
    ):
        code = await play_canary(Target(str(client.base_url)), None, 30, as_json=as_json)
    assert code == (0 if passes else 1)
    printed = capsys.readouterr().out
    if as_json:
        [verdict] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        assert verdict["ok"] is passes
        assert "session stored" not in printed
    else:
        assert "session stored" in printed
        assert ("ready" if passes else ADVICE[Cause.NO_WORKER_REGISTERED]) in printed
