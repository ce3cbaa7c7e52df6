"""The archive writes each turn once, however often it comes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta, timezone

import pytest
from sqlalchemy import select
from sqlmodel import col

from services.transcripts.ports import ArchiveUnavailable, Oddities
from services.transcripts.store import DatabaseArchive
from shared.core.sessions.tables import AttemptRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.database import Database
from tests.integration.rows import a_turn, put_session
from tests.unit.making import T0, FakeClock

pytestmark = pytest.mark.sql


@pytest.fixture
async def archive(database: Database) -> AsyncIterator[DatabaseArchive]:
    opened = DatabaseArchive(database, now=FakeClock())
    yield opened
    await opened.aclose()


async def stored(database: Database, session_id: str) -> list[TranscriptItemRow]:
    async with database.read() as db:
        query = select(TranscriptItemRow).where(col(TranscriptItemRow.session_id) == session_id)
        return list((await db.scalars(query.order_by(col(TranscriptItemRow.seq)))).all())


async def test_a_turn_is_stored_with_all_it_says(database: Database, archive: DatabaseArchive) -> None:
    row = await put_session(database)
    in_peru = T0.astimezone(timezone(timedelta(hours=-5)))
    turn = a_turn(
        row.id,
        text="Grüße 🙂",
        interrupted=True,
        language="de-DE",
        confidence=0.75,
        created_at=in_peru,
        started_at=in_peru,
        participant_identity="caller-1",
        metrics={"transcription_delay": 0.25},
        extra={"tool": {"name": "look_up"}},
    )
    assert await archive.store([turn]) == (1, set())
    [item] = await stored(database, row.id)
    assert item.model_dump(exclude={"stored_at"}) == {**turn.model_dump(), "cut_from_bytes": None}
    assert item.stored_at == T0


async def test_turns_that_come_again_are_not_written_again(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    turns = [a_turn(row.id, seq) for seq in range(1, 6)]
    assert await archive.store(turns) == (5, set())
    assert await archive.store(turns) == (0, set())
    assert await archive.store([*turns[3:], a_turn(row.id, 6)]) == (1, set())
    assert [item.seq for item in await stored(database, row.id)] == [1, 2, 3, 4, 5, 6]


async def test_a_turn_twice_in_one_batch_is_written_once(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    assert await archive.store([a_turn(row.id, 1)] * 3) == (1, set())


async def test_the_first_telling_of_a_turn_stays(database: Database, archive: DatabaseArchive) -> None:
    row = await put_session(database)
    await archive.store([a_turn(row.id, 1, text="first")])
    await archive.store([a_turn(row.id, 1, text="second")])
    assert [item.text for item in await stored(database, row.id)] == ["first"]


async def test_an_item_id_of_another_session_is_another_turn(
    database: Database, archive: DatabaseArchive
) -> None:
    rows = [await put_session(database) for _ in range(2)]
    assert await archive.store([a_turn(row.id, 1) for row in rows]) == (2, set())


async def test_turns_of_a_session_that_is_not_there_are_named_and_the_rest_stored(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    batch = [a_turn("nobody", 1), a_turn(row.id, 1), a_turn("no-one", 1)]
    assert await archive.store(batch) == (1, {"nobody", "no-one"})
    assert await archive.store([a_turn("nobody", 2)]) == (0, {"nobody"})
    assert len(await stored(database, row.id)) == 1


async def test_a_batch_of_more_turns_than_one_statement_takes_is_stored_whole(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    assert await archive.store([a_turn(row.id, seq) for seq in range(1, 1202)]) == (1201, set())
    assert len(await stored(database, row.id)) == 1201


async def test_two_consumers_with_the_same_turns_write_them_once(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    turns = [a_turn(row.id, seq) for seq in range(1, 51)]
    outcomes = await asyncio.gather(*(archive.store(batch) for batch in (turns, turns[::-1], turns)))
    assert sum(new for new, _ in outcomes) == 50
    assert len(await stored(database, row.id)) == 50


async def test_a_database_that_is_away_is_worth_another_try(tmp_path: object) -> None:
    away = Database("postgresql+asyncpg://postgres@/none?host=/nowhere")
    with pytest.raises(ArchiveUnavailable):
        await DatabaseArchive(away, now=FakeClock()).store([a_turn("s-1")])
    await away.close()


async def test_consumers_with_the_same_turns_in_other_orders_do_not_lock_each_other_up(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    archive = DatabaseArchive(database, now=FakeClock())
    ids = [(await put_session(database)).id for _ in range(20)]
    for round_ in range(10):
        turns = [a_turn(session_id, round_ + 1, item_id=f"i{round_}") for session_id in ids] * 20
        batches = (turns, turns[::-1], turns[200:] + turns[:200], turns[::-1])
        await asyncio.gather(*(archive.store(batch) for batch in batches))
    await archive.aclose()
    await database.close()


async def test_what_does_not_fit_among_the_stored_turns_is_told(
    database: Database, archive: DatabaseArchive
) -> None:
    row, other = [await put_session(database) for _ in range(2)]
    await archive.store([a_turn(row.id, 1), a_turn(row.id, 2), a_turn(other.id, 1)])
    late = [a_turn(row.id, 2, item_id="late"), a_turn(row.id, 5), a_turn(row.id, 6), a_turn(other.id, 2)]
    await archive.store(late)
    assert await archive.oddities(late) == Oddities(conflicts=1, gaps=1)
    assert await archive.oddities([a_turn(other.id, 1), a_turn(other.id, 2)]) == Oddities()


async def test_the_numbers_left_free_between_two_attempts_are_no_gap(
    database: Database, archive: DatabaseArchive
) -> None:
    row = await put_session(database)
    async with database.write() as db:
        for number, first_seq in ((1, 1), (2, 1003)):
            db.add(AttemptRow(session_id=row.id, number=number, first_seq=first_seq, started_at=T0))
    first = [a_turn(row.id, 1), a_turn(row.id, 2)]
    second = [a_turn(row.id, 1003, attempt=2), a_turn(row.id, 1004, attempt=2)]
    await archive.store([*first, *second])
    assert await archive.oddities([*first, *second]) == Oddities()
    late = [a_turn(row.id, 1003, item_id="late"), a_turn(row.id, 1006, attempt=2)]
    await archive.store(late)
    assert await archive.oddities(late) == Oddities(conflicts=1, gaps=2), "it is another attempt's beginning"


async def test_the_projects_of_sessions_are_known(database: Database, archive: DatabaseArchive) -> None:
    ours, theirs = await put_session(database), await put_session(database, project="theirs")
    found = await archive.projects([ours.id, theirs.id, "nobody"])
    assert found == {ours.id: "default", theirs.id: "theirs"}
