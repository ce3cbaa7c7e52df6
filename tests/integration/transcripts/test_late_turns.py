"""A turn that arrives after an erasure or its retention brings no text back, on any path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from services.api.transcripts.erase.erase import erase_participant, erase_session
from services.api.transcripts.erase.retention import Housekeeping
from services.transcripts import store as module
from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.contracts.sessions import Role, SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.erasure_rows import find_marked, person_of
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.dead_letters import replay_dead_letters
from shared.platform.redis.streams import Entry, dead_letter, publish
from tests.integration.api_client import api_settings
from tests.integration.background import in_background
from tests.integration.rows import a_turn, count, get_session, put_session, store_turns
from tests.integration.transcripts.test_erase import turns_of
from tests.support.sessions import until
from tests.unit.making import T0

pytestmark = pytest.mark.sql

SECRET = "xylophonquarz"
ANNA = "anna"


@contextlib.asynccontextmanager
async def consuming(database_url: str, redis_url: str) -> AsyncIterator[None]:
    settings = TranscriptsSettings(database_url=database_url, redis_url=redis_url)
    async with open_consumer(settings) as consumer, in_background(consumer.run()):
        yield


def envelope(turn: TurnFinished) -> Any:
    return wrap(turn, session_id=turn.session_id, source="tests", time=T0)


async def say(redis: Redis, *turns: TurnFinished) -> None:
    await publish(redis, TURNS_STREAM, [envelope(turn) for turn in turns])


async def until_stored(database: Database, session_id: str, turns: int) -> list[str]:
    """The texts of the session, once it has so many turns."""

    async def there() -> bool:
        return len(await turns_of(database, session_id)) == turns

    await until(there, what=f"{turns} turns are stored", timeout_s=30)
    return [turn.text for turn in await turns_of(database, session_id)]


def a_talk(session_id: str, *, guest: str | None = ANNA) -> list[TurnFinished]:
    """What a guest says, and the answer."""
    return [
        a_turn(session_id, 1, text=SECRET, participant_identity=guest),
        a_turn(session_id, 2, role=Role.ASSISTANT, text=f"So it is {SECRET}"),
    ]


async def put_talk(database: Database, **row: Any) -> SessionRow:
    """A session whose caller is somebody else than the guest who speaks in it."""
    begun = utc_now() - timedelta(minutes=5)
    return await put_session(database, requested_at=begun, participant_identity="ben", **row)


WAYS = ["stream", "replay"]


async def comes_late(redis: Redis, way: str, turns: list[TurnFinished]) -> None:
    if way == "stream":  # from a spool, or sent again: it is all the same to the consumer
        await say(redis, *turns)
        return
    for turn in turns:
        entry = Entry("0-1", {"event": envelope(turn).model_dump_json()})
        await dead_letter(redis, TURNS_STREAM, entry, "refused")
    await replay_dead_letters(redis, stream=None, reason=None, limit=None, dry_run=False)


@pytest.mark.parametrize("way", WAYS)
async def test_a_participant_of_whom_nothing_is_stored_yet_is_erased(
    database: Database, database_url: str, redis: Redis, redis_url: str, way: str
) -> None:
    row = await put_talk(database)
    erased = await erase_participant(ANNA, project="default", database=database, redis=redis, now=utc_now)
    assert erased.session_ids == []
    await comes_late(redis, way, a_talk(row.id))
    async with consuming(database_url, redis_url):
        assert await until_stored(database, row.id, 2) == ["", ""], "the answer, too"
        await say(redis, a_turn(row.id, 3, text=SECRET))
        assert await until_stored(database, row.id, 3) == [""] * 3
    assert (await get_session(database, row.id)).transcript_erased_at is not None


async def test_what_was_stored_before_it_was_known_who_takes_part_goes_with_the_late_turn(
    database: Database, redis: Redis
) -> None:
    row = await put_talk(database)
    words, answer = a_talk(row.id)
    await store_turns(database, [answer])
    await erase_participant(ANNA, project="default", database=database, redis=redis, now=utc_now)
    assert [turn.text for turn in await turns_of(database, row.id)] == [answer.text]
    await store_turns(database, [words], now=utc_now)
    assert [turn.text for turn in await turns_of(database, row.id)] == ["", ""]


async def test_a_turn_that_waits_in_redis_says_of_which_sessions_somebody_is_erased(
    database: Database, redis: Redis
) -> None:
    row, theirs = await put_talk(database), await put_talk(database, project="theirs", room_name="another")
    answer = a_talk(row.id)[1]
    await store_turns(database, [answer])
    await say(redis, *a_talk(row.id), *a_talk(theirs.id))
    erased = await erase_participant(ANNA, project="default", database=database, redis=redis, now=utc_now)
    assert (erased.session_ids, erased.turns, erased.stream_entries) == ([row.id], 1, 2)
    assert await redis.xlen(TURNS_STREAM) == 2, "another project's stay"


async def test_whoever_calls_again_after_the_erasure_has_a_transcript(
    database: Database, redis: Redis
) -> None:
    await erase_participant(ANNA, project="default", database=database, redis=redis, now=utc_now)
    later = utc_now() + timedelta(seconds=1)
    row = await put_session(database, requested_at=later, participant_identity=ANNA)
    other = await put_talk(database, project="theirs")
    await store_turns(database, [*a_talk(row.id), *a_talk(other.id)], now=utc_now)
    for session in (row, other):
        assert [turn.text for turn in await turns_of(database, session.id)] == [
            turn.text for turn in a_talk(session.id)
        ]


async def test_a_mark_does_not_tell_who_was_erased(database: Database, redis: Redis) -> None:
    await erase_participant(
        "anna@example.com", project="default", database=database, redis=redis, now=utc_now
    )
    assert await count(database, "erasure_mark WHERE person LIKE '%anna%'") == 0
    assert await count(database, f"erasure_mark WHERE person = '{person_of('anna@example.com')}'") == 1


@pytest.mark.parametrize("of", ["session", "participant"])
async def test_an_erasure_while_turns_are_being_stored_leaves_none_of_their_text(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    row = await put_talk(database)
    looked, erasing = asyncio.Event(), asyncio.Event()

    async def find_slowly(*asked: Any) -> list[str]:
        found = await find_marked(*asked)
        looked.set()
        await erasing.wait()
        return found

    async def erase() -> None:
        await looked.wait()
        asyncio.get_running_loop().call_later(0.2, erasing.set)
        known: Any = {"project": "default", "database": database, "redis": redis, "now": utc_now}
        await (erase_session(row.id, **known) if of == "session" else erase_participant(ANNA, **known))

    monkeypatch.setattr(module, "find_marked", find_slowly)
    await asyncio.gather(store_turns(database, a_talk(row.id), now=utc_now), erase())
    assert [turn.text for turn in await turns_of(database, row.id)] == ["", ""]


def housekeeping(database: Database, redis: Redis, *, days: int = 30) -> Housekeeping:
    settings = api_settings(
        "sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1", transcript_retention_days=days
    )
    return Housekeeping(database=database, redis=redis, settings=settings, holder="test", now=utc_now)


async def put_old(database: Database, **row: Any) -> SessionRow:
    long_ago = utc_now() - timedelta(days=60)
    return await put_session(
        database, status=SessionStatus.ENDED, requested_at=long_ago, ended_at=long_ago, **row
    )


async def until_deleted(keeper: Housekeeping) -> None:
    while await keeper.delete_old("default"):
        pass


@pytest.mark.parametrize("way", WAYS)
async def test_what_comes_after_its_retention_is_not_stored(
    database: Database, database_url: str, redis: Redis, redis_url: str, way: str
) -> None:
    row, marker = await put_old(database), await put_session(database, room_name="another")
    await store_turns(database, a_talk(row.id))
    await until_deleted(housekeeping(database, redis))
    await comes_late(redis, way, a_talk(row.id))
    async with consuming(database_url, redis_url):
        await say(redis, a_turn(marker.id))
        await until_stored(database, marker.id, 1)
    assert await turns_of(database, row.id) == []
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0, "nor is it set aside"


async def test_retention_deletes_the_turns_of_sessions_that_were_erased(
    database: Database, redis: Redis
) -> None:
    row = await put_old(database)
    await store_turns(database, a_talk(row.id))
    await erase_session(row.id, project="default", database=database, redis=redis, now=utc_now)
    first = (await get_session(database, row.id)).transcript_erased_at
    await until_deleted(housekeeping(database, redis))
    assert await turns_of(database, row.id) == []
    assert (await get_session(database, row.id)).transcript_erased_at == first


async def test_the_malformed_letters_of_another_project_stay(database: Database, redis: Redis) -> None:
    ours, theirs = await put_talk(database), await put_talk(database, project="theirs", room_name="another")

    async def set_aside(text: str) -> None:
        await dead_letter(redis, TURNS_STREAM, Entry("0-1", {"event": text}), "malformed")

    for row in (ours, theirs):
        await set_aside(f'{{"subject": "session/{row.id}", "data": {{"participant_identity": "{ANNA}", ')
    await set_aside(f'{{"participant_identity": "{ANNA}", ')
    await set_aside('{"participant_identity": "annabel", ')
    erased = await erase_participant(ANNA, project="default", database=database, redis=redis, now=utc_now)
    assert erased.dead_letters == 2
    left = repr(await redis.xrange(DEAD_LETTERS_STREAM))
    assert theirs.id in left
    assert "annabel" in left
    assert ours.id not in left
