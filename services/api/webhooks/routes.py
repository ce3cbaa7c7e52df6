"""The routes of webhook endpoints. Each reads the request, calls one function, and builds the answer."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.auth.access import Admin
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.http.parameters import Cursor
from services.api.webhooks.deliveries import add_test, list_deliveries, replay_dead, replay_one
from services.api.webhooks.endpoints import (
    add_endpoint,
    change_endpoint,
    check_target,
    get_enabled_endpoint,
    get_endpoint,
    list_endpoints,
    rotate_secret,
)
from services.api.webhooks.schemas import (
    CreatedWebhookEndpoint,
    Delivery,
    DeliveryPage,
    NewSecret,
    NewWebhookEndpoint,
    Replay,
    Replayed,
    Rotation,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpoints,
)
from shared.contracts.webhooks import DeliveryStatus
from shared.platform.clock import utc_now

router = APIRouter(prefix="/v1/webhook-endpoints", responses=PROBLEMS, tags=["webhooks"])


@router.post("", status_code=201, summary="Register a webhook endpoint")
async def create(
    services: Deps, response: Response, principal: Admin, wanted: NewWebhookEndpoint
) -> CreatedWebhookEndpoint:
    """Register an endpoint. Only this answer shows its secret."""
    await check_target(wanted.url, services.webhook_targets, project=principal.project)
    async with services.database.write() as db:
        row, secret = await add_endpoint(
            db, wanted, project=principal.project, secrets=services.webhook_secrets, now=utc_now()
        )
    response.headers["Location"] = f"/v1/webhook-endpoints/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedWebhookEndpoint(secret=secret, **WebhookEndpoint.of(row).model_dump())


@router.get("", summary="List webhook endpoints")
async def list_(services: Deps, principal: Admin) -> WebhookEndpoints:
    """List the endpoints of the project."""
    async with services.database.read() as db:
        rows = await list_endpoints(db, principal.project)
    return WebhookEndpoints(endpoints=[WebhookEndpoint.of(row) for row in rows])


@router.get("/{endpoint_id}", summary="Read a webhook endpoint")
async def read(services: Deps, principal: Admin, endpoint_id: str) -> WebhookEndpoint:
    """Read an endpoint."""
    async with services.database.read() as db:
        return WebhookEndpoint.of(await get_endpoint(db, endpoint_id, principal.project))


@router.patch("/{endpoint_id}", summary="Change, disable or enable a webhook endpoint")
async def change(
    services: Deps, principal: Admin, endpoint_id: str, wanted: WebhookEndpointChange
) -> WebhookEndpoint:
    """Change the named fields. Events that happen while an endpoint is disabled are not sent to it later."""
    if "url" in wanted.model_fields_set:
        await check_target(wanted.url, services.webhook_targets, project=principal.project)
    async with services.database.write() as db:
        row = await get_endpoint(db, endpoint_id, principal.project)
        change_endpoint(row, wanted, now=utc_now())
    return WebhookEndpoint.of(row)


@router.delete("/{endpoint_id}", status_code=204, summary="Delete a webhook endpoint")
async def delete(services: Deps, principal: Admin, endpoint_id: str) -> Response:
    """Delete an endpoint with its deliveries."""
    async with services.database.write() as db:
        await db.delete(await get_endpoint(db, endpoint_id, principal.project))
    return Response(status_code=204)


@router.post("/{endpoint_id}/secret", summary="Rotate the secret")
async def rotate(
    services: Deps,
    response: Response,
    principal: Admin,
    endpoint_id: str,
    wanted: Rotation | None = None,
) -> NewSecret:
    """Make a new secret. For a while, both the new one and the old one sign."""
    overlap = timedelta(seconds=(wanted or Rotation()).overlap_s)
    async with services.database.write() as db:
        row = await get_endpoint(db, endpoint_id, principal.project)
        secret = rotate_secret(row, overlap=overlap, secrets=services.webhook_secrets, now=utc_now())
    response.headers["Cache-Control"] = "no-store"
    return NewSecret(secret=secret, previous_secret_until=row.previous_secret_until)


@router.post("/{endpoint_id}/test", status_code=202, summary="Send a test event")
async def test(services: Deps, principal: Admin, endpoint_id: str) -> Delivery:
    """Send `webhook.test.v1`, like any other event."""
    async with services.database.write() as db:
        endpoint = await get_enabled_endpoint(db, endpoint_id, principal.project)
        row = add_test(db, endpoint.id, now=utc_now())
    return Delivery.of(row)


@router.get("/{endpoint_id}/deliveries", summary="List the deliveries of an endpoint")
async def deliveries(
    *,
    services: Deps,
    principal: Admin,
    endpoint_id: str,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
    status: DeliveryStatus | None = None,
) -> DeliveryPage:
    """List deliveries, newest event first; `status=dead` lists the dead letters."""
    async with services.reading.snapshot(principal.project) as db:
        endpoint = await get_endpoint(db, endpoint_id, principal.project)
        rows, next_cursor = await list_deliveries(db, endpoint.id, limit=limit, cursor=cursor, status=status)
    return DeliveryPage(deliveries=[Delivery.of(row) for row in rows], next_cursor=next_cursor)


@router.post("/{endpoint_id}/deliveries/{event_id}/replay", status_code=202, summary="Send an event again")
async def replay(services: Deps, principal: Admin, endpoint_id: str, event_id: str) -> Delivery:
    """Send an event again, under the same `webhook-id`, with a full schedule of attempts."""
    async with services.database.write() as db:
        endpoint = await get_enabled_endpoint(db, endpoint_id, principal.project)
        row = await replay_one(db, endpoint.id, event_id, now=utc_now())
    return Delivery.of(row)


@router.post("/{endpoint_id}/replay", status_code=202, summary="Send dead letters again")
async def replay_since(services: Deps, principal: Admin, endpoint_id: str, wanted: Replay) -> Replayed:
    """Send every dead letter again that was given up since the given time."""
    async with services.database.write() as db:
        endpoint = await get_enabled_endpoint(db, endpoint_id, principal.project)
        count = await replay_dead(db, endpoint.id, since=wanted.since, now=utc_now())
    return Replayed(deliveries=count)
