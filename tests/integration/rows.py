"""Put rows into the database and read them back."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy import text as sql
from sqlmodel import col

from services.transcripts.store import DatabaseArchive
from shared.contracts.events import SessionRequested, TurnFinished, wrap
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM
from shared.contracts.sessions import Mode, Role
from shared.contracts.webhooks import DeliveryStatus
from shared.core.sessions.repository import add_session
from shared.core.sessions.tables import AttemptRow, EventRow, SessionRow
from shared.core.webhooks.tables import WebhookDeliveryRow, WebhookEndpointRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.redis.streams import Entry, dead_letter
from tests.support.stream_entries import entries_of
from tests.unit.making import T0, make_attempt, make_session

REQUESTED = SessionRequested(room_name="room-1", agent_name="agent", mode=Mode.PIPELINE)


async def put_session(database: Database, *, attempt: dict[str, Any] | None = None, **row: Any) -> SessionRow:
    """Write a session with its first event, and its current attempt if `attempt` says how it stands."""
    made = make_session(**row)
    session_id = made.id
    async with database.write() as db:
        await add_session(db, made, event=REQUESTED)
        if attempt is not None:
            db.add(make_attempt(made, **attempt))
    return await get_session(database, session_id)


async def put_webhook(database: Database, *, project: str) -> dict[str, str]:
    """A webhook endpoint with a delivery; returns their ids by the names that routes have for them."""
    endpoint_id, event_id = new_id(), new_id()
    endpoint = WebhookEndpointRow(
        id=endpoint_id,
        project=project,
        url="https://hooks.example.com/",
        events=["*"],
        secret="whsec_" + "a" * 32,
        collects_from=T0,
        created_at=T0,
        updated_at=T0,
    )
    delivery = WebhookDeliveryRow(
        endpoint_id=endpoint_id,
        event_id=event_id,
        event_type="session.failed.v1",
        status=DeliveryStatus.DEAD,
        created_at=T0,
    )
    async with database.write() as db:
        db.add(endpoint)
        await db.flush()
        db.add(delivery)
    return {"endpoint_id": endpoint_id, "event_id": event_id}


async def put_letter(
    redis: Redis,
    session_id: str,
    *,
    stream: str = TURNS_STREAM,
    reason: str = "refused: too late",
    text: str = "This is turn 1.",
    content: dict[str, str] | None = None,
) -> str:
    """A dead letter with a turn of the session, or with other content; returns its id."""
    turn = wrap(a_turn(session_id, text=text), session_id=SessionId(session_id), source="test", time=T0)
    fields = {ENVELOPE_FIELD: turn.model_dump_json(exclude_none=True)} if content is None else content
    await dead_letter(redis, stream, Entry("1-1", fields), reason)
    letters = await entries_of(redis, DEAD_LETTERS_STREAM)
    return letters[-1][0]


async def get_session(database: Database, session_id: str) -> SessionRow:
    async with database.read() as db:
        row = await db.get(SessionRow, session_id)
    assert row is not None
    return row


async def get_attempts(database: Database, session_id: str) -> list[AttemptRow]:
    async with database.read() as db:
        query = select(AttemptRow).where(col(AttemptRow.session_id) == session_id)
        return list((await db.scalars(query.order_by(col(AttemptRow.number)))).all())


async def get_events(database: Database, session_id: str) -> Sequence[EventRow]:
    async with database.read() as db:
        query = select(EventRow).where(col(EventRow.session_id) == session_id)
        return (await db.scalars(query.order_by(col(EventRow.sequence)))).all()


async def event_types(database: Database, session_id: str) -> list[str]:
    return [event.type for event in await get_events(database, session_id)]


async def last_event(database: Database, session_id: str) -> dict[str, Any]:
    """The data of the newest event, with its type."""
    row = (await get_events(database, session_id))[-1]
    return {"type": row.type, **row.data}


async def count(database: Database, table: str) -> int:
    async with database.read() as db:
        found: int | None = await db.scalar(sql(f"SELECT count(*) FROM {table}"))
    return found or 0


def a_turn(session_id: str, seq: int = 1, **changes: Any) -> TurnFinished:
    values: dict[str, Any] = {
        "session_id": SessionId(session_id),
        "attempt": 1,
        "seq": seq,
        "item_id": f"item_{seq}",
        "role": Role.USER,
        "text": f"This is turn {seq}.",
        "created_at": T0,
        **changes,
    }
    return TurnFinished.model_validate(values)


async def store_turns(
    database: Database, turns: Sequence[TurnFinished], *, now: Clock = lambda: T0
) -> tuple[int, set[str]]:
    """Store turns as the consumer does."""
    archive = DatabaseArchive(database, now=now)
    try:
        return await archive.store(turns)
    finally:
        await archive.aclose()
