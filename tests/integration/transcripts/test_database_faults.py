"""Transcripts while the database refuses: the kind of fault decides what happens to the turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from devstack.provision.postgres import PostgresServer
from services.transcripts.bootstrap import GROUP
from services.transcripts.consume import Consumer
from services.transcripts.store import DatabaseArchive
from shared.contracts.events import TurnFinished
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.core.database_ready import unready
from shared.core.transcripts.watermark import publish_stored, read_stored
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.streams import ConsumerGroup, Entry, dead_letter
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, put_session
from tests.integration.transcripts.consuming import acknowledged, reasons, say, until_acknowledged
from tests.support.clerks import Clerk, a_clerk
from tests.support.sessions import until
from tests.support.stream_entries import entries_of

TURNS = 5


@asynccontextmanager
async def consuming(database: Database, redis: Redis) -> AsyncIterator[None]:
    """The consumer, on this database."""

    async def set_aside(entry: Entry, reason: str) -> None:
        await dead_letter(redis, TURNS_STREAM, entry, reason)

    archive = DatabaseArchive(database, now=utc_now)
    consumer = Consumer(
        group=ConsumerGroup(redis, stream=TURNS_STREAM, group=GROUP, consumer="c-1"),
        archive=archive,
        set_aside=set_aside,
        tell_stored=partial(publish_stored, redis),
        max_turn_bytes=100_000,
        now=utc_now,
    )
    async with in_background(consumer.run()):
        yield
    await archive.aclose()


def retries() -> float:
    return REGISTRY.get_sample_value("transcript_database_retries_total") or 0.0


@dataclass(frozen=True)
class Broken:
    """SQL that breaks what is there and mends it again, and what `/readyz` says meanwhile.

    told None: it is of one statement, and the process is ready.
    """

    breaks: str
    mends: str
    told: str | None
    cut_off: bool = False


def always(state: str) -> tuple[str, str]:
    """A trigger that refuses every turn with this SQLSTATE, and its end."""
    function = f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END"
    return (
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${function}$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON transcript_item FOR EACH ROW EXECUTE FUNCTION refuse()",
        "DROP TRIGGER refuse ON transcript_item; DROP FUNCTION refuse()",
    )


LOGIN = "ALTER ROLE {clerk}"
FAULTS = {
    "missing column": Broken(
        "ALTER TABLE transcript_item RENAME COLUMN language TO tongue",
        "ALTER TABLE transcript_item RENAME COLUMN tongue TO language",
        "transcript_item.language",
    ),
    "missing table": Broken(
        "ALTER TABLE transcript_item RENAME TO turns",
        "ALTER TABLE turns RENAME TO transcript_item",
        "transcript_item.",
    ),
    "missing column of what is only read": Broken(
        "ALTER TABLE session RENAME COLUMN transcript_erased_at TO gone",
        "ALTER TABLE session RENAME COLUMN gone TO transcript_erased_at",
        "session.transcript_erased_at",
    ),
    "missing right to write": Broken(
        "REVOKE INSERT ON transcript_item FROM {clerk}", "GRANT INSERT ON transcript_item TO {clerk}", "42501"
    ),
    "missing right to read": Broken(
        "REVOKE SELECT ON session FROM {clerk}", "GRANT SELECT ON session TO {clerk}", "42501"
    ),
    "no login": Broken(f"{LOGIN} NOLOGIN", f"{LOGIN} LOGIN", "28000", cut_off=True),
    "too many connections": Broken(
        f"{LOGIN} CONNECTION LIMIT 0", f"{LOGIN} CONNECTION LIMIT -1", "53300", cut_off=True
    ),
    "a standby": Broken(
        f"{LOGIN} SET default_transaction_read_only = on",
        f"{LOGIN} RESET default_transaction_read_only",
        "25006",
        cut_off=True,
    ),
    "disk full": Broken(*always("53100"), "53100"),
    "serialization failure": Broken(*always("40001"), None),
    "lock timeout": Broken(*always("55P03"), None),
    "statement timeout": Broken(*always("57014"), None),
    "admin shutdown": Broken(*always("57P01"), None),
    "connection failure": Broken(*always("08006"), None),
    "internal error": Broken(*always("XX000"), "XX000"),
    "unsupported feature": Broken(*always("0A000"), "0A000"),
    "a code of somebody's own": Broken(*always("RC001"), "RC001"),
}


@pytest.fixture
async def clerk(postgres_server: PostgresServer, postgres_url: str) -> AsyncIterator[Clerk]:
    async with a_clerk(postgres_server, str(make_url(postgres_url).database)) as made:
        yield made


async def assert_nothing_is_settled(redis: Redis, turn: TurnFinished) -> None:
    """Assert that no turn is acknowledged, set aside, or reported as stored."""
    assert not await acknowledged(redis, TURNS)
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    known = await read_stored(redis, turn.session_id, job_id=None, attempt=1)
    assert [seq for seq in range(1, TURNS + 1) if known.has(seq)] == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_turns_wait_for_what_is_not_their_fault_and_are_stored_once_it_is_mended(
    postgres_url: str, clerk: Clerk, redis: Redis, fault: str
) -> None:
    broken = FAULTS[fault]
    owner, database = Database(postgres_url), Database(clerk.url)
    row = await put_session(owner)
    turns = [a_turn(row.id, seq) for seq in range(1, TURNS + 1)]
    before = retries()

    async def has_tried() -> bool:
        return retries() >= before + 2

    async def says() -> bool:
        return broken.told is None or broken.told in (await unready(database) or "")

    async def is_ready() -> bool:
        return await unready(database) is None

    await clerk.alter(broken.breaks)
    try:
        if broken.cut_off:
            await clerk.cut_off()
        async with consuming(database, redis):
            await say(redis, *turns)
            await until(has_tried, what="the consumer tries again and again", timeout_s=60)
            await until(says, what=f"it says {broken.told}", timeout_s=60)
            await assert_nothing_is_settled(redis, turns[0])
            await clerk.alter(broken.mends)
            await until_acknowledged(redis, TURNS)
            await until(is_ready, what="it is ready again", timeout_s=60)
    finally:
        await clerk.alter(broken.mends if await unready(database) else "SELECT 1")
        await database.close()
    assert await count(owner, "transcript_item") == TURNS
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    await owner.close()


async def test_a_password_that_is_wrong_is_waited_out(postgres_url: str, clerk: Clerk, redis: Redis) -> None:
    owner, database = Database(postgres_url), Database(clerk.url)
    row = await put_session(owner)

    async def says() -> bool:
        return "28P01" in (await unready(database) or "")

    async with consuming(database, redis):
        await say(redis, *[a_turn(row.id, seq) for seq in range(1, TURNS + 1)])
        await until_acknowledged(redis, TURNS)
        await clerk.alter("ALTER ROLE {clerk} PASSWORD 'another'")
        await clerk.cut_off()
        await say(redis, a_turn(row.id, TURNS + 1))
        await until(says, what="it says that the login is refused", timeout_s=60)
        assert await count(owner, "transcript_item") == TURNS
        told = await unready(database) or ""
        password = make_url(clerk.url).password
        assert password is not None
        assert password not in told
        await clerk.alter(f"ALTER ROLE {{clerk}} PASSWORD '{password}'")
        await until_acknowledged(redis, TURNS + 1)
    assert await count(owner, "transcript_item") == TURNS + 1
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    await database.close()
    await owner.close()


@pytest.mark.parametrize(
    "state", ["22003", "22P02", "23502", "23514", "23505", "21000", "44000", "54000", "P0001"]
)
async def test_of_many_turns_only_the_one_that_is_refused_is_set_aside(
    postgres_url: str, redis: Redis, state: str
) -> None:
    """A trigger stands for every reason: what PostgreSQL says is its SQLSTATE."""
    database = Database(postgres_url)
    row = await put_session(database)
    breaks, mends = always(state)
    async with database.engine.begin() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(breaks.replace("EACH ROW", "EACH ROW WHEN (NEW.text = 'poison')"))
    try:
        many = [a_turn(row.id, seq, text="poison" if seq == 37 else "well") for seq in range(1, 101)]
        async with consuming(database, redis):
            await say(redis, *many)
            await until_acknowledged(redis, len(many))
            await say(redis, a_turn(row.id, 101))
            await until_acknowledged(redis, len(many) + 1)
        assert await count(database, "transcript_item") == len(many)
        assert await reasons(redis) == ["refused"]
        [(_, letter)] = await entries_of(redis, DEAD_LETTERS_STREAM)
        assert state in letter["reason"]
    finally:
        async with database.engine.begin() as connection:
            for statement in mends.split(";"):
                await connection.execute(text(statement))
        await database.close()


class Pragmas:
    """Pragmas for every new connection to SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told = "PRAGMA query_only=OFF"
        event.listen(database.engine.sync_engine, "connect", self._tell)

    def _tell(self, connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(self._told)
        cursor.close()

    async def tell(self, pragma: str) -> None:
        self._told = pragma
        await self._database.engine.dispose()


@pytest.mark.parametrize(
    ("breaks", "mends", "told"),
    [
        ("PRAGMA query_only=ON", "PRAGMA query_only=OFF", "SQLITE_READONLY"),
        ("PRAGMA max_page_count=1", "PRAGMA max_page_count=100000", "SQLITE_FULL"),
        (
            "ALTER TABLE transcript_item RENAME COLUMN language TO tongue",
            "ALTER TABLE transcript_item RENAME COLUMN tongue TO language",
            "transcript_item.language",
        ),
    ],
    ids=["read-only", "full", "missing column"],
)
async def test_on_sqlite_turns_wait_too(
    sqlite_url: str, redis: Redis, breaks: str, mends: str, told: str
) -> None:
    owner, database = Database(sqlite_url), Database(sqlite_url)
    pragmas = Pragmas(database)
    row = await put_session(owner)
    turns = [a_turn(row.id, seq, text="a long word " * 500) for seq in range(1, TURNS + 1)]

    async def change(statement: str) -> None:
        if statement.startswith("PRAGMA"):
            await pragmas.tell(statement)
            return
        async with owner.write() as db:
            await db.execute(text(statement))

    async def says() -> bool:
        return told in (await unready(database) or "")

    await change(breaks)
    before = retries()
    async with consuming(database, redis):
        await say(redis, *turns)

        async def has_tried() -> bool:
            return retries() >= before + 2

        await until(has_tried, what="the consumer tries again and again", timeout_s=60)
        await until(says, what=f"it says {told}", timeout_s=60)
        await assert_nothing_is_settled(redis, turns[0])
        await change(mends)
        await until_acknowledged(redis, TURNS)
    assert await count(owner, "transcript_item") == TURNS
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0
    await database.close()
    await owner.close()
