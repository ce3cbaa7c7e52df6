"""LiveKit's webhooks: only what LiveKit signed, each once, and never more than a hint."""

import base64
import hashlib
import json

import pytest
from livekit import api

from services.api.problems import Problem
from services.api.webhook import receive_webhook, verify_webhook
from shared.contracts.sessions import SessionStatus
from shared.runtime.database import Database
from tests.integration.rows import count, get_session, put_session
from tests.unit.making import T0, FakeClock

KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
RECEIVER = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))


def an_event(room: str | None = "room-1", *, kind: str = "participant_left", event_id: str = "EV_1") -> bytes:
    body: dict[str, object] = {"event": kind, "id": event_id, "createdAt": "1700000000"}
    if room is not None:
        body["room"] = {"name": room, "sid": "RM_1"}
    return json.dumps(body).encode()


def sign(body: bytes, *, key: str = KEY, secret: str = SECRET) -> str:
    """Sign as livekit-server does: a token that carries the body's SHA-256."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_sha256(digest).to_jwt()


def received(body: bytes) -> api.WebhookEvent:
    return verify_webhook(body, sign(body), RECEIVER)


def test_what_livekit_signed_is_believed() -> None:
    event = received(an_event("lobby"))
    assert (event.id, event.event, event.room.name) == ("EV_1", "participant_left", "lobby")


def test_what_nobody_signed_is_refused() -> None:
    for authorization in (None, ""):
        with pytest.raises(Problem) as raised:
            verify_webhook(an_event(), authorization, RECEIVER)
        assert (raised.value.status, raised.value.code) == (401, "webhook_unsigned")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "no token",
        "Bearer x",
        sign(an_event(), secret="another-secret-of-thirty-two-char"),
        sign(an_event(), key="otherkey"),
        sign(an_event(), key="otherkey", secret="another-secret-of-thirty-two-char"),
        api.AccessToken(KEY, SECRET).to_jwt(),
        sign(b"another body"),
    ],
)
def test_what_livekit_did_not_sign_is_refused(authorization: str) -> None:
    with pytest.raises(Problem) as raised:
        verify_webhook(an_event(), authorization, RECEIVER)
    assert raised.value.status == 401


def test_a_body_that_was_altered_on_its_way_is_refused() -> None:
    body = an_event("lobby")
    for altered in (body.replace(b"lobby", b"lobbx"), body + b" ", b"", b"\xff\xfe"):
        with pytest.raises(Problem) as raised:
            verify_webhook(altered, sign(body), RECEIVER)
        assert (raised.value.status, raised.value.code) == (401, "webhook_forged")


async def test_an_event_names_the_live_sessions_of_its_room(database: Database, clock: FakeClock) -> None:
    live = await put_session(database, room_name="lobby")
    await put_session(database, room_name="lobby", status=SessionStatus.ENDED)
    await put_session(database, room_name="other")
    assert await receive_webhook(received(an_event("lobby")), database=database, now=clock) == [live.id]


async def test_a_repeated_event_names_no_session(database: Database, clock: FakeClock) -> None:
    row = await put_session(database, room_name="lobby")
    event = received(an_event("lobby"))
    assert await receive_webhook(event, database=database, now=clock) == [row.id]
    assert await receive_webhook(event, database=database, now=clock) == []
    assert await count(database, "livekit_webhook_receipt") == 1
    another = received(an_event("lobby", event_id="EV_2"))
    assert await receive_webhook(another, database=database, now=clock) == [row.id]


async def test_an_event_without_a_room_names_no_session(database: Database, clock: FakeClock) -> None:
    await put_session(database, room_name="")
    event = received(an_event(None, kind="egress_ended"))
    assert await receive_webhook(event, database=database, now=clock) == []


@pytest.mark.parametrize("kind", ["participant_left", "participant_connection_aborted", "room_finished"])
async def test_a_departure_makes_an_active_session_due_now(
    database: Database, clock: FakeClock, kind: str
) -> None:
    row = await put_session(database, room_name="lobby", status=SessionStatus.ACTIVE)
    await receive_webhook(received(an_event("lobby", kind=kind)), database=database, now=clock)
    stored = await get_session(database, row.id)
    assert (stored.next_check_at, stored.status, stored.version) == (T0, SessionStatus.ACTIVE, row.version)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("participant_joined", SessionStatus.ACTIVE),
        ("track_published", SessionStatus.ACTIVE),
        ("participant_left", SessionStatus.DISPATCHED),
        ("room_finished", SessionStatus.ENDED),
    ],
)
async def test_anything_else_moves_no_session(
    database: Database, clock: FakeClock, kind: str, status: SessionStatus
) -> None:
    row = await put_session(database, room_name="lobby", status=status)
    await receive_webhook(received(an_event("lobby", kind=kind)), database=database, now=clock)
    assert await get_session(database, row.id) == row
