"""Webhook endpoints of a project: create, change and find them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.errors.problems import Problem
from services.api.webhooks.schemas import NewWebhookEndpoint, WebhookEndpointChange
from shared.contracts.identifiers import new_id
from shared.core.webhooks.secrets import SecretBox, new_secret
from shared.core.webhooks.tables import WebhookEndpointRow
from shared.core.webhooks.targets import ForbiddenTarget, TargetPolicy

# Limited because each event may be sent to every endpoint.
MAX_ENDPOINTS: Final = 50
BY_REQUEST: Final = "by request"


async def check_target(url: str, targets: TargetPolicy, *, project: str) -> None:
    """Raise `Problem` unless webhooks may be sent to this URL.

    It resolves the name, so don't call it in a transaction.
    """
    try:
        await targets.check_target(url, project=project)
    except ForbiddenTarget as forbidden:
        raise _forbidden(str(forbidden)) from None


def _forbidden(why: str) -> Problem:
    detail = f"Rollcall does not send webhooks there: {why}"
    return Problem(422, "webhook_target_forbidden", detail, errors=[{"field": "url", "problem": why}])


async def add_endpoint(
    db: AsyncSession, wanted: NewWebhookEndpoint, *, project: str, secrets: SecretBox, now: datetime
) -> tuple[WebhookEndpointRow, str]:
    """Write a new endpoint and return it with its secret; raises `Problem` if there are too many."""
    count = select(func.count()).where(col(WebhookEndpointRow.project) == project)
    if (await db.scalar(count) or 0) >= MAX_ENDPOINTS:
        detail = f"a project has at most {MAX_ENDPOINTS} webhook endpoints; delete one first"
        raise Problem(409, "too_many_webhook_endpoints", detail)
    secret = new_secret()
    row = WebhookEndpointRow(
        id=new_id(),
        project=project,
        secret=secrets.seal(secret),
        collects_from=now,
        created_at=now,
        updated_at=now,
        **wanted.model_dump(),
    )
    db.add(row)
    return row, secret


async def list_endpoints(db: AsyncSession, project: str) -> Sequence[WebhookEndpointRow]:
    """Return every endpoint of the project, oldest first."""
    query = select(WebhookEndpointRow).where(col(WebhookEndpointRow.project) == project)
    return (await db.scalars(query.order_by(col(WebhookEndpointRow.id)))).all()


async def get_endpoint(db: AsyncSession, endpoint_id: str, project: str) -> WebhookEndpointRow:
    """Return an endpoint; raises `Problem` if the project has no such endpoint."""
    # PostgreSQL refuses even to search for a text with NUL in it.
    row = await db.get(WebhookEndpointRow, endpoint_id) if endpoint_id.isprintable() else None
    if row is None or row.project != project:
        raise Problem(404, "webhook_endpoint_not_found", f"there is no webhook endpoint {endpoint_id}")
    return row


async def get_enabled_endpoint(db: AsyncSession, endpoint_id: str, project: str) -> WebhookEndpointRow:
    """Return an endpoint; raises `Problem` if it does not exist or is disabled."""
    row = await get_endpoint(db, endpoint_id, project)
    if not row.enabled:
        detail = f"the endpoint is disabled ({row.disabled_reason}); enable it first"
        raise Problem(409, "webhook_endpoint_disabled", detail)
    return row


def change_endpoint(row: WebhookEndpointRow, change: WebhookEndpointChange, *, now: datetime) -> None:
    """Set the fields that the change names."""
    named = change.model_dump(include=change.model_fields_set - {"enabled"})
    for name, value in named.items():
        setattr(row, name, value)
    if "url" in named:
        row.failing_since = row.paused_until = None
    if "enabled" in change.model_fields_set and change.enabled != row.enabled:
        row.enabled = change.enabled
        row.disabled_reason = None if change.enabled else BY_REQUEST
        row.disabled_at = None if change.enabled else now
        row.failing_since = row.paused_until = None
        if change.enabled:
            row.collects_from = now
    row.updated_at = now


def rotate_secret(row: WebhookEndpointRow, *, overlap: timedelta, secrets: SecretBox, now: datetime) -> str:
    """Give the endpoint a new secret and return it. The old one also signs for as long as `overlap`."""
    secret = new_secret()
    row.previous_secret = row.secret if overlap else None
    row.previous_secret_until = now + overlap if overlap else None
    row.secret = secrets.seal(secret)
    row.updated_at = now
    return secret
