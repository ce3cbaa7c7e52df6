"""Deliveries of an endpoint: read, tested and replayed. The webhooks process does the sending."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.http.paging import cut_page, one_more
from shared.contracts.events import WebhookTested
from shared.contracts.identifiers import new_id
from shared.contracts.webhooks import DeliveryStatus
from shared.core.webhooks.tables import WebhookDeliveryRow, has_status
from shared.platform.database.database import changed

_Delivery: Final = WebhookDeliveryRow


async def list_deliveries(
    db: AsyncSession, endpoint_id: str, *, limit: int, cursor: str | None, status: DeliveryStatus | None
) -> tuple[list[WebhookDeliveryRow], str | None]:
    """Return up to `limit` deliveries of events older than the cursor, newest first, and the next cursor."""
    query = select(_Delivery).where(col(_Delivery.endpoint_id) == endpoint_id)
    if cursor is not None:
        query = query.where(col(_Delivery.event_id) < cursor)
    if status is not None:
        query = query.where(has_status(status))
    rows = (await db.scalars(query.order_by(col(_Delivery.event_id).desc()).limit(one_more(limit)))).all()
    return cut_page(rows, limit, lambda row: row.event_id)


def add_test(db: AsyncSession, endpoint_id: str, *, now: datetime) -> WebhookDeliveryRow:
    """Enqueue a test event for the endpoint."""
    row = WebhookDeliveryRow(
        endpoint_id=endpoint_id,
        event_id=new_id(),
        event_type=WebhookTested.type,
        next_attempt_at=now,
        created_at=now,
    )
    db.add(row)
    return row


async def replay_one(
    db: AsyncSession, endpoint_id: str, event_id: str, *, now: datetime
) -> WebhookDeliveryRow:
    """Send an event again, whatever its status; a pending delivery is sent now. Raises `Problem`."""
    key = (endpoint_id, event_id)
    row = await db.get(WebhookDeliveryRow, key) if event_id.isprintable() else None
    if row is None:
        raise Problem(404, "webhook_delivery_not_found", f"this endpoint has no delivery {event_id}")
    if row.status == DeliveryStatus.PENDING:
        row.next_attempt_at = now
        return row
    for name, value in _begun_again(now).items():
        setattr(row, name, value)
    return row


async def replay_dead(db: AsyncSession, endpoint_id: str, *, since: datetime, now: datetime) -> int:
    """Send all dead letters again that were given up since then, and return how many."""
    dead = update(_Delivery).where(
        col(_Delivery.endpoint_id) == endpoint_id,
        has_status(DeliveryStatus.DEAD),
        col(_Delivery.finished_at) >= since,
    )
    statement = dead.values(**_begun_again(now)).execution_options(synchronize_session=False)
    return await changed(db, statement)


def _begun_again(now: datetime) -> dict[str, Any]:
    return {
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "next_attempt_at": now,
        "claimed_until": None,
        "finished_at": None,
    }
