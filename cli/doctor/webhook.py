"""Check LiveKit's webhooks: whether the API accepts one, and whether LiveKit has sent any."""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import httpx
from livekit import api
from sqlalchemy import func, select
from sqlmodel import col

from cli.doctor.database import NoDatabase, opened
from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.doctor.surroundings import Surroundings
from cli.render.show import local
from shared.contracts.identifiers import new_id
from shared.core.livekit.tables import WebhookReceiptRow
from shared.core.sessions.tables import SessionRow
from shared.platform.database.errors import DATABASE_ERRORS

NAME: Final = "webhook"
ARRIVED: Final = "webhook: sent"
PATH: Final = "/v1/livekit/webhook"
TIMEOUT_S: Final = 7.0
# LiveKit sends webhooks within moments, and a session may just have begun.
GRACE: Final = timedelta(seconds=10)


async def check_webhook(surroundings: Surroundings, url: str) -> Sequence[Finding]:
    """Send a webhook without effect, signed with our key, and read the API's answer."""
    key, secret = surroundings.env.get("LIVEKIT_API_KEY"), surroundings.env.get("LIVEKIT_API_SECRET")
    if not key or not secret:
        return [skipped(NAME, "there is no key to sign one with: LIVEKIT_API_KEY and LIVEKIT_API_SECRET")]
    event = {"event": "rollcall_doctor", "id": f"EV_{new_id()}", "createdAt": str(int(time.time()))}
    body = json.dumps(event).encode()
    headers = {"Authorization": _signature(body, key, secret), "Content-Type": "application/webhook+json"}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
            answer = await http.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = f"{url} does not answer: {error or type(error).__name__}"
        fix = "LiveKit has to reach the API here; give the API's public address with --webhook-url"
        return [failed(NAME, why, fix)]
    if answer.status_code == 200:
        return [passed(NAME, f"{url} accepts webhooks signed with our key")]
    if answer.status_code == 401:
        fix = "give the API the same LIVEKIT_API_KEY and LIVEKIT_API_SECRET, and start it again"
        return [failed(NAME, f"{url} refuses webhooks signed with our key", fix)]
    return [failed(NAME, f"{url} answers {answer.status_code}", "is there a proxy in front of the API?")]


def _signature(body: bytes, key: str, secret: str) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = api.AccessToken(key, secret).with_ttl(timedelta(minutes=1)).with_sha256(digest)
    return str(token.to_jwt())


async def check_arrivals(surroundings: Surroundings, url: str) -> Sequence[Finding]:
    """Compare the newest recorded webhook with the newest session whose agent was in a room."""
    try:
        async with opened(surroundings) as database, database.read() as db:
            last = await db.scalar(select(func.max(col(WebhookReceiptRow.received_at))))
            joined = await db.scalar(select(func.max(col(SessionRow.active_at))))
    except (NoDatabase, *DATABASE_ERRORS):
        return [skipped(ARRIVED, "the receipts are in the database, which can't be read")]
    return [judge_arrivals(last, joined, url)]


def judge_arrivals(last: datetime | None, joined: datetime | None, url: str) -> Finding:
    """Judge whether LiveKit's `last` webhook is as new as the newest session whose agent `joined`."""
    if joined is None:
        return skipped(ARRIVED, "no session has had its agent yet")
    if last is None or last < joined - GRACE:
        since = "never" if last is None else f"last {local(last)}"
        return warned(
            ARRIVED,
            f"LiveKit sent none for the session of {local(joined)} ({since}): Rollcall proves joins by "
            "polling, and sees departures later",
            f"enter {url} in LiveKit's webhook settings, with the key LIVEKIT_API_KEY",
        )
    return passed(ARRIVED, f"the last came {local(last)}")
