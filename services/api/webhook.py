"""LiveKit's webhooks in: checked, remembered once, and turned into a hint.

A webhook is never proof. LiveKit waits for the answer before it sends the room's next event, so the
answer goes out as soon as the receipt is committed.
"""

from livekit import api
from livekit.protocol.webhook import WebhookEvent
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col

from services.api import metrics
from services.api.problems import Problem
from shared.contracts.sessions import LIVE, SessionStatus
from shared.runtime.clock import Clock
from shared.runtime.database import Database, changed
from shared.runtime.logs import get_logger
from shared.runtime.tables import SessionRow, WebhookReceiptRow

log = get_logger(__name__)

# What may mean that an active session's agent or caller is gone.
DEPARTURES = frozenset({"participant_left", "participant_connection_aborted", "room_finished"})


def verify_webhook(body: bytes, authorization: str | None, receiver: api.WebhookReceiver) -> WebhookEvent:
    """Return the event if its signature covers exactly this body; raises `Problem` if not."""
    if not authorization:
        metrics.webhook_received("refused")
        raise Problem(401, "webhook_unsigned", "the Authorization header is missing")
    try:
        return receiver.receive(body.decode(), authorization)
    except Exception as error:  # the library raises bare exceptions for a bad hash or token
        metrics.webhook_received("refused")
        log.warning("webhook_refused", error=type(error).__name__)
        detail = "the signature doesn't match the body and our LiveKit key and secret"
        raise Problem(401, "webhook_forged", detail) from None


async def receive_webhook(event: WebhookEvent, *, database: Database, now: Clock) -> list[str]:
    """Remember the event and return the sessions to look at; a repeated event names none."""
    insert = postgresql.insert if not database.is_sqlite else sqlite.insert
    receipt = insert(WebhookReceiptRow).values(
        id=event.id, event=event.event, room_name=event.room.name or None, received_at=now()
    )
    live = select(col(SessionRow.id)).where(
        col(SessionRow.room_name) == event.room.name, col(SessionRow.status).in_(LIVE)
    )
    async with database.write() as db:
        if not await changed(db, receipt.on_conflict_do_nothing()):
            metrics.webhook_received("repeated")
            return []
        sessions = list((await db.scalars(live)).all()) if event.room.name else []
        if sessions and event.event in DEPARTURES:
            await db.execute(
                update(SessionRow)
                .where(col(SessionRow.id).in_(sessions), col(SessionRow.status) == SessionStatus.ACTIVE)
                .values(next_check_at=now())
            )
    metrics.webhook_received("accepted")
    return sessions
