"""A database with a wrong schema, under load: all services report it, and nothing is lost."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count as counting
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from devstack.provision.postgres import PostgresServer
from devstack.stack import Stack
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.contracts.sessions import SessionStatus
from shared.core.transcripts.watermark import read_stored
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import publish
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, put_session
from tests.stack_fixtures.stacks import StartStack
from tests.support.sessions import until

pytestmark = pytest.mark.faults

SERVICES = ("api", "dispatcher", "verifier", "transcripts", "webhooks")
JOB = "AJ_1"
SESSIONS = 10
PAUSE_S = 0.05
MANY = 300


class Load:
    """Turns of many sessions, one of each at a time, for as long as it runs."""

    def __init__(self, redis: Redis, session_ids: list[str]) -> None:
        self.redis = redis
        self.session_ids = session_ids
        self.published: list[TurnFinished] = []

    async def run(self) -> None:
        for seq in counting(1):
            turns = [a_turn(session_id, seq, job_id=JOB) for session_id in self.session_ids]
            envelopes = [wrap(t, session_id=t.session_id, source="tests", time=utc_now()) for t in turns]
            self.published += turns
            await publish(self.redis, TURNS_STREAM, envelopes)
            await asyncio.sleep(PAUSE_S)

    async def told_to_be_stored(self) -> int:
        """Return how many turns their workers may delete."""
        last = len(self.published) // SESSIONS + 1
        known = [await read_stored(self.redis, one, job_id=JOB, attempt=1) for one in self.session_ids]
        return sum(stored.has(seq) for stored in known for seq in range(1, last + 1))


@asynccontextmanager
async def renamed(connection: asyncpg.Connection, column: str) -> AsyncIterator[None]:
    """Rename the column while the block runs."""
    await connection.execute(f"ALTER TABLE transcript_item RENAME COLUMN {column} TO gone")
    try:
        yield
    finally:
        await connection.execute(f"ALTER TABLE transcript_item RENAME COLUMN gone TO {column}")


async def readiness(stack: Stack) -> dict[str, tuple[int, str]]:
    """What each service's `/readyz` answers."""
    async with httpx.AsyncClient(timeout=10) as http:
        answers = {
            service: await http.get(f"http://{address}/readyz")
            for service, [address] in stack.metrics_addresses().items()
        }
    return {service: (answer.status_code, answer.text) for service, answer in answers.items()}


async def test_a_column_that_is_missing_under_load_is_told_by_every_process_and_costs_no_turn(
    start_stack: StartStack, postgres_server: PostgresServer
) -> None:
    name = f"refuses_{uuid.uuid4().hex[:8]}"
    url = await postgres_server.create_database(name)
    stack = await start_stack(services=SERVICES, env={"DATABASE_URL": url})
    admin = await asyncpg.connect(host=str(postgres_server.folder), user="postgres", database=name)
    redis, database = connect_redis(stack.redis_url), Database(url)
    ended: dict[str, Any] = {"status": SessionStatus.ENDED, "next_check_at": None}
    load = Load(redis, [(await put_session(database, **ended)).id for _ in range(SESSIONS)])

    async def many_are_stored() -> bool:
        return await count(database, "transcript_item") >= MANY

    async def all_tell() -> bool:
        found = await readiness(stack)
        return set(found) == set(SERVICES) and all(
            status == 503 and "transcript_item.language" in told for status, told in found.values()
        )

    async def many_wait() -> bool:
        return len(load.published) >= waiting_from + MANY

    async def all_are_stored() -> bool:
        return await count(database, "transcript_item") == len(load.published)

    async def all_are_ready() -> bool:
        return all(status == 200 for status, _ in (await readiness(stack)).values())

    async def all_are_told() -> bool:
        return await load.told_to_be_stored() == len(load.published)

    try:
        async with in_background(load.run()):
            await until(many_are_stored, what=f"{MANY} turns are stored")
            async with renamed(admin, "language"):
                stored, waiting_from = await count(database, "transcript_item"), len(load.published)
                await until(all_tell, what="every process says what is missing", timeout_s=60)
                await until(many_wait, what=f"{MANY} more turns are published")
                assert await load.told_to_be_stored() <= stored
                assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
        await until(all_are_stored, what="every turn is stored", timeout_s=60)
        await until(all_are_told, what="of every turn it is said that it is stored", timeout_s=60)
        await until(all_are_ready, what="every process is ready", timeout_s=60)
        assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
        assert [process.restarts for process in stack.processes()] == [0] * len(stack.processes())
        assert "database_unfit" in stack.process("transcripts").log()
    finally:
        await redis.aclose()
        await database.close()
        await admin.close()
