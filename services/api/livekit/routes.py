"""The route that receives LiveKit's webhooks."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS
from services.api.livekit.webhook import receive_webhook, verify_webhook
from shared.platform.clock import utc_now
from shared.platform.redis.hints import give_hint

router = APIRouter(responses=PROBLEMS)


@router.post("/v1/livekit/webhook", tags=["livekit"], include_in_schema=False)
async def livekit_webhook(
    request: Request, services: Deps, authorization: Annotated[str | None, Header()] = None
) -> Response:
    """Receive a webhook from LiveKit."""
    event = verify_webhook(await request.body(), authorization, services.webhook_receiver)
    received = await receive_webhook(
        event,
        database=services.database,
        limits=services.settings,
        join_budget_s=services.settings.join_budget_s,
        now=utc_now,
    )
    for session_id in received.moved:
        services.relay.publish_soon(session_id)
    for session_id in received.to_look_at:
        services.in_background(give_hint(services.redis, session_id))
    return Response(status_code=200)
