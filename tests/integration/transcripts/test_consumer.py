"""The transcript consumer on a real stream and a real database: stored, then acknowledged, once."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from services.transcripts.bootstrap import GROUP, open_consumer
from services.transcripts.consume import Consumer
from services.transcripts.ports import ArchiveUnavailable, Oddities
from services.transcripts.settings import TranscriptsSettings
from services.transcripts.store import DatabaseArchive
from shared.contracts.events import AgentReady, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM, stored_key
from shared.core.transcripts.watermark import publish_stored, read_stored
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis import streams
from shared.platform.redis.streams import FIRST_READ_COUNT, ConsumerGroup, Entry, dead_letter, publish
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, put_session
from tests.integration.transcripts.consuming import (
    acknowledged,
    consuming,
    metric,
    reasons,
    say,
    until_acknowledged,
)
from tests.support.sessions import until
from tests.support.stream_entries import entries_of
from tests.unit.making import T0

pytestmark = pytest.mark.sql


async def test_turns_go_from_the_stream_into_the_database(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database)
    await say(redis, a_turn(row.id, 1), a_turn(row.id, 2))
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 2, task)
        await say(redis, a_turn(row.id, 2), a_turn(row.id, 3))
        await until_acknowledged(redis, 4, task)
    assert await count(database, "transcript_item") == 3
    assert await reasons(redis) == []


async def test_what_cannot_be_stored_is_set_aside_and_holds_up_nothing(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database)
    other = wrap(AgentReady(attempt=1), session_id=SessionId(row.id), source="tests", time=T0)
    unknown = other.model_copy(update={"type": "transcript.turn_sung.v9"})
    incomplete = wrap(a_turn(row.id, 1), session_id=SessionId(row.id), source="tests", time=T0)
    incomplete.data.pop("text")
    await say(redis, a_turn(row.id, 1))
    await redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: "not json"})
    await redis.xadd(TURNS_STREAM, {"other": "field"})
    await publish(redis, TURNS_STREAM, [unknown, other, incomplete])
    await say(redis, a_turn("no-such-session", 1), a_turn(row.id, 2))
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 8, task)
    assert await count(database, "transcript_item") == 2
    assert await reasons(redis) == [
        "malformed",
        "malformed",
        "unknown_type",
        "unexpected_type",
        "malformed",
        "unknown_session",
    ]


async def test_what_is_refused_does_not_stay_in_memory(
    database_url: str, redis: Redis, redis_url: str
) -> None:
    async def are_gone() -> bool:
        return sum(isinstance(each, Entry) for each in gc.get_objects()) <= 1

    gc.collect()
    gc.disable()  # a cycle would stay until it is looked for, which the consumer does seldom
    try:
        async with consuming(database_url, redis_url) as task:
            for _ in range(100):
                await redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: "not json"})
            await until_acknowledged(redis, 100, task)
            await say(redis, a_turn("no-such-session", 1))
            await until_acknowledged(redis, 101, task)
            await until(are_gone, what="what was refused is forgotten", timeout_s=20)
    finally:
        gc.enable()


async def test_a_dead_letter_keeps_what_was_published(
    database_url: str, redis: Redis, redis_url: str
) -> None:
    turn = a_turn("no-such-session", 1)
    await say(redis, turn)
    [(entry_id, fields)] = await entries_of(redis, TURNS_STREAM)
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 1, task)
    [(_, letter)] = await entries_of(redis, DEAD_LETTERS_STREAM)
    assert (letter["stream"], letter["entry_id"]) == (TURNS_STREAM, entry_id)
    assert letter[ENVELOPE_FIELD] == fields[ENVELOPE_FIELD]


@pytest.mark.parametrize(
    "poison",
    [{"text": "a\x00b"}, {"seq": 2**31}, {"extra": {"arguments": "\x00"}}],
    ids=["nul in the text", "a number too large", "nul in the extras"],
)
async def test_a_turn_that_the_database_refuses_holds_up_nothing(
    database: Database, database_url: str, redis: Redis, redis_url: str, poison: dict[str, Any]
) -> None:
    row = await put_session(database)
    fields: dict[str, Any] = {"seq": 2, **poison}
    await say(redis, a_turn(row.id, 1), a_turn(row.id, **fields), a_turn(row.id, 3))
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 3, task)
        assert not task.done()
    stored = await count(database, "transcript_item")
    assert stored + len(await reasons(redis)) == 3
    assert stored >= 2


class FailsAtFirst:
    """An archive whose database is away for the first calls."""

    def __init__(self, archive: DatabaseArchive, redis: Redis, failures: int) -> None:
        self.archive = archive
        self.redis = redis
        self.failures = failures
        self.acknowledged_before_commit = False

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        self.acknowledged_before_commit |= await acknowledged(self.redis, len(turns))
        if self.failures:
            self.failures -= 1
            raise ArchiveUnavailable("away")
        return await self.archive.store(turns)

    async def projects(self, session_ids: Collection[str]) -> Mapping[str, str]:
        return await self.archive.projects(session_ids)

    async def oddities(self, turns: Sequence[TurnFinished]) -> Oddities:
        return await self.archive.oddities(turns)


@pytest.fixture
async def archive(database: Database) -> AsyncIterator[DatabaseArchive]:
    opened = DatabaseArchive(database, now=utc_now)
    yield opened
    await opened.aclose()


def make_consumer(archive: FailsAtFirst | DatabaseArchive, redis: Redis, name: str = "c-1") -> Consumer:
    async def set_aside(entry: Entry, reason: str) -> None:
        await dead_letter(redis, TURNS_STREAM, entry, reason)

    group = ConsumerGroup(redis, stream=TURNS_STREAM, group=GROUP, consumer=name)
    return Consumer(
        group=group,
        archive=archive,
        set_aside=set_aside,
        tell_stored=partial(publish_stored, redis),
        max_turn_bytes=100_000,
        now=utc_now,
    )


async def test_a_turn_is_acknowledged_only_after_it_is_committed(
    database: Database, archive: DatabaseArchive, redis: Redis
) -> None:
    row = await put_session(database)
    failing = FailsAtFirst(archive, redis, failures=2)
    await say(redis, a_turn(row.id, 1))
    async with in_background(make_consumer(failing, redis).run()) as task:
        await until_acknowledged(redis, 1, task)
    assert failing.failures == 0
    assert not failing.acknowledged_before_commit
    assert await count(database, "transcript_item") == 1


async def test_a_consumer_that_dies_before_the_commit_loses_nothing(
    database: Database, archive: DatabaseArchive, redis: Redis
) -> None:
    row = await put_session(database)
    failing = FailsAtFirst(archive, redis, failures=10_000)
    await say(redis, a_turn(row.id, 1), a_turn(row.id, 2))

    async def tried() -> bool:
        return failing.failures < 10_000

    async with in_background(make_consumer(failing, redis).run()):
        await until(tried, what="the consumer has taken the turns")
    assert await count(database, "transcript_item") == 0
    heir = make_consumer(archive, redis)
    async with in_background(heir.run()) as task:
        await until_acknowledged(redis, 2, task)
    assert await count(database, "transcript_item") == 2


async def test_a_connection_that_postgres_cuts_is_waited_out(
    postgres_url: str, redis: Redis, redis_url: str
) -> None:
    database = Database(postgres_url)
    row = await put_session(database)
    waiting = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO transcript_item%'"
    )

    async def blocked() -> int | None:
        async with database.read() as db:
            pid: int | None = await db.scalar(waiting)
            return pid

    async with consuming(postgres_url, redis_url) as task:
        async with database.engine.connect() as locked:
            await locked.execute(text("LOCK TABLE transcript_item IN ACCESS EXCLUSIVE MODE"))
            await say(redis, a_turn(row.id, 1))
            pid = await until(blocked, what="the consumer's insert waits")
            async with database.read() as db:
                await db.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await locked.rollback()
        await until_acknowledged(redis, 1, task)
    assert await count(database, "transcript_item") == 1
    await database.close()


def entry_of(turn: TurnFinished, **changes: object) -> dict[str, str]:
    envelope = wrap(turn, session_id=turn.session_id, source="tests", time=T0).model_dump(mode="json")
    return {ENVELOPE_FIELD: json.dumps({**envelope, **changes})}


async def test_strangers_are_set_aside_with_their_reason(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row, other = await put_session(database), await put_session(database, project="theirs")
    strangers = {
        "oversized": entry_of(a_turn(row.id, 1, text="x" * 3_000)),
        "session_mismatch": entry_of(a_turn(row.id, 2), subject=f"session/{other.id}"),
        "bad_sequence": entry_of(a_turn(row.id, 0)),
        "foreign_project": entry_of(a_turn(other.id, 1), project="default"),
        "unknown_type": entry_of(a_turn(row.id, 3), type="transcript.turn_finished.v2"),
        "unknown_session": entry_of(a_turn("nobody", 1), project="default"),
    }
    for fields in strangers.values():
        await redis.xadd(TURNS_STREAM, dict[Any, Any](fields))
    await redis.xadd(TURNS_STREAM, dict[Any, Any](entry_of(a_turn(other.id, 2), project="theirs")))
    await say(redis, a_turn(row.id, 4), a_turn(row.id, 5, text="ü" * 200))
    settings = TranscriptsSettings(database_url=database_url, redis_url=redis_url, turn_max_bytes=2_000)
    async with open_consumer(settings) as consumer, in_background(consumer.run()) as task:
        await until_acknowledged(redis, 9, task)
    assert sorted(await reasons(redis)) == sorted(strangers)
    assert await count(database, "transcript_item") == 3


async def test_the_watermark_has_what_is_stored_and_what_was_set_aside_for_good(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database)
    await say(redis, a_turn(row.id, 1), a_turn(row.id, 2, attempt=2**31), a_turn(row.id, 3))
    await say(redis, a_turn("nobody", 1))
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 4, task)
    stored = await read_stored(redis, row.id, job_id=None, attempt=1)
    assert [seq for seq in range(5) if stored.has(seq)] == [1, 3]
    assert not stored.is_counted
    # Otherwise their worker would send them forever, and each time they would be set aside.
    assert (await read_stored(redis, row.id, job_id=None, attempt=2**31)).has(2)
    assert (await read_stored(redis, "nobody", job_id=None, attempt=1)).has(1)


async def test_a_watermark_that_redis_lost_is_published_anew_for_turns_that_come_again(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database)
    async with consuming(database_url, redis_url) as task:
        await say(redis, a_turn(row.id, 1))
        await until_acknowledged(redis, 1, task)
        await redis.delete(stored_key(row.id, "attempt-1"))
        await say(redis, a_turn(row.id, 1))
        await until_acknowledged(redis, 2, task)
    assert (await read_stored(redis, row.id, job_id=None, attempt=1)).has(1)


class Breaks(FailsAtFirst):
    """An archive with a bug that shows in its first calls."""

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError
        return await self.archive.store(turns)


async def test_a_batch_that_fails_for_no_known_reason_comes_again(
    database: Database, archive: DatabaseArchive, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not through a take-over by another consumer.
    monkeypatch.setattr(streams, "CLAIM_IDLE_MS", 3_600_000)
    row = await put_session(database)
    failing = Breaks(archive, redis, failures=1)
    await say(redis, a_turn(row.id, 1))
    async with in_background(make_consumer(failing, redis).run()) as task:
        await until_acknowledged(redis, 1, task)
    assert await count(database, "transcript_item") == 1
    assert await reasons(redis) == []


class IsSlow(FailsAtFirst):
    """An archive that answers only when the test lets it."""

    def __init__(self, archive: DatabaseArchive, redis: Redis) -> None:
        super().__init__(archive, redis, failures=0)
        self.answers = asyncio.Event()

    async def store(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        await self.answers.wait()
        return await self.archive.store(turns)


async def test_while_the_database_is_slow_turns_wait_in_redis(
    database: Database, archive: DatabaseArchive, redis: Redis
) -> None:
    row = await put_session(database)
    slow = IsSlow(archive, redis)
    for start in range(1, 500, 100):
        await say(redis, *(a_turn(row.id, seq) for seq in range(start, start + 100)))

    async def taken() -> int:
        found = await redis.xinfo_groups(TURNS_STREAM)
        return int(found[0]["pending"]) if found else 0

    async def three_taken() -> bool:
        # The first batch is being stored, the second waits for it, the third is parsed.
        return await taken() == (1 + 2 + 4) * FIRST_READ_COUNT

    async with in_background(make_consumer(slow, redis).run()) as task:
        await until(three_taken, what="the consumer has three batches")
        for _ in range(20):
            await asyncio.sleep(0)
        assert await three_taken()
        slow.answers.set()
        await until_acknowledged(redis, 500, task)
    assert await count(database, "transcript_item") == 500


async def test_what_does_not_fit_is_counted(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    row = await put_session(database)
    before = metric("conflicts"), metric("gaps")
    async with consuming(database_url, redis_url) as task:
        await say(redis, a_turn(row.id, 1), a_turn(row.id, 2))
        await until_acknowledged(redis, 2, task)
        await say(redis, a_turn(row.id, 2, item_id="another"), a_turn(row.id, 4))
        await until_acknowledged(redis, 4, task)

        async def counted() -> bool:
            return (metric("conflicts"), metric("gaps")) == (before[0] + 1, before[1] + 1)

        await until(counted, what="one conflict and one gap are counted")
    assert await count(database, "transcript_item") == 4
