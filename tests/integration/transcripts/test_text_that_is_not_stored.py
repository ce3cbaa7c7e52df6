"""Text of an erased session is not stored, however late it comes; nor is text that a setting forbids."""

from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from services.api.transcripts.erase.erase import erase_session
from services.transcripts.bootstrap import open_consumer
from services.transcripts.redact import RedactorMissing
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import TURNS_STREAM
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.database.database import Database
from shared.platform.redis.streams import publish
from tests.integration.background import in_background
from tests.integration.rows import a_turn, put_session
from tests.stack_fixtures.waiting import eventually
from tests.unit.making import T0, FakeClock

SECRET = "xylophonquarz"


def settings(database_url: str, redis_url: str, **changes: Any) -> TranscriptsSettings:
    return TranscriptsSettings(database_url=database_url, redis_url=redis_url, **changes)


async def consumed(
    database: Database, redis: Redis, settings: TranscriptsSettings, *turns: TurnFinished
) -> list[TranscriptItemRow]:
    """Send the turns through a real consumer, and return what it has stored of their session."""
    query = select(TranscriptItemRow).where(col(TranscriptItemRow.session_id) == turns[0].session_id)
    found: list[TranscriptItemRow] = []

    async def stored() -> bool:
        async with database.read() as db:
            found[:] = (await db.scalars(query.order_by(col(TranscriptItemRow.seq)))).all()
        return len(found) >= len(turns)

    envelopes = [wrap(turn, session_id=turn.session_id, source="test", time=T0) for turn in turns]
    await publish(redis, TURNS_STREAM, envelopes)
    async with open_consumer(settings) as consumer, in_background(consumer.run()):
        await eventually(stored)
    return found


async def test_a_turn_that_comes_after_the_erasure_is_stored_without_a_word(
    database: Database, redis: Redis, database_url: str, redis_url: str
) -> None:
    row = await put_session(database)
    await erase_session(row.id, project="default", database=database, redis=redis, now=FakeClock())
    turn = a_turn(row.id, 7, text=SECRET, extra={"arguments": SECRET, "name": "f"})
    [stored] = await consumed(database, redis, settings(database_url, redis_url), turn)
    assert (stored.seq, stored.text, stored.extra) == (7, "", {"name": "f"})


async def test_only_metadata_is_stored_where_that_is_wanted(
    database: Database, redis: Redis, database_url: str, redis_url: str
) -> None:
    row = await put_session(database)
    wanted = settings(database_url, redis_url, transcript_store="metadata")
    [stored] = await consumed(database, redis, wanted, a_turn(row.id, 1, text=SECRET))
    assert (stored.role, stored.text) == ("user", "")


def shout(text: str) -> str:
    """The redactor that the test names in its settings."""
    return text.upper()


async def test_a_redactor_is_asked_before_a_turn_is_stored(
    database: Database, redis: Redis, database_url: str, redis_url: str
) -> None:
    row = await put_session(database)
    wanted = settings(database_url, redis_url, transcript_redactor=f"{__name__}:shout")
    [stored] = await consumed(database, redis, wanted, a_turn(row.id, 1, text=SECRET))
    assert stored.text == SECRET.upper()


async def test_a_consumer_without_its_redactor_does_not_start(database_url: str, redis_url: str) -> None:
    with pytest.raises(RedactorMissing):
        async with open_consumer(settings(database_url, redis_url, transcript_redactor="nowhere:f")):
            pass
