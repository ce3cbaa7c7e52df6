"""LiveKit's webhooks: only what LiveKit signed, each once, and never more than a hint."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from livekit import api

from services.api.errors.problems import Problem
from services.api.livekit.webhook import receive_webhook, verify_webhook
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database
from tests.integration.rows import count, get_attempts, get_session, put_session
from tests.support.counted import write_transactions
from tests.unit.making import T0, FakeClock

KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
RECEIVER = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))


def an_event(
    room: str | None = "room-1",
    *,
    kind: str = "participant_left",
    event_id: str = "EV_1",
    participant: dict[str, Any] | None = None,
) -> bytes:
    body: dict[str, object] = {"event": kind, "id": event_id, "createdAt": "1700000000"}
    if participant is not None:
        body["participant"] = participant
    if room is not None:
        body["room"] = {"name": room, "sid": "RM_1"}
    return json.dumps(body).encode()


def sign(body: bytes, *, key: str = KEY, secret: str = SECRET) -> str:
    """Sign as livekit-server does: a token that carries the body's SHA-256."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_sha256(digest).to_jwt()


async def looked_at(event: api.WebhookEvent, *, database: Database, now: FakeClock) -> list[str]:
    """Receive the event; return the sessions to look at because of it."""
    answer = await receive_webhook(
        event, database=database, limits=SessionLimitSettings(), join_budget_s=15, now=now
    )
    return list(answer.to_look_at)


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


# Made within the test: what is signed holds the time, and a test's name must not.
NOT_LIVEKITS: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no token": lambda: "no token",
    "another scheme": lambda: "Bearer x",
    "another secret": lambda: sign(an_event(), secret="another-secret-of-thirty-two-char"),
    "another key": lambda: sign(an_event(), key="otherkey"),
    "another key and secret": lambda: sign(
        an_event(), key="otherkey", secret="another-secret-of-thirty-two-char"
    ),
    "a token of no body": lambda: api.AccessToken(KEY, SECRET).to_jwt(),
    "of another body": lambda: sign(b"another body"),
}


@pytest.mark.parametrize("make", NOT_LIVEKITS.values(), ids=NOT_LIVEKITS)
def test_what_livekit_did_not_sign_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(Problem) as raised:
        verify_webhook(an_event(), make(), RECEIVER)
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
    assert await looked_at(received(an_event("lobby")), database=database, now=clock) == [live.id]


async def test_a_repeated_event_names_no_session(database: Database, clock: FakeClock) -> None:
    row = await put_session(database, room_name="lobby")
    event = received(an_event("lobby"))
    assert await looked_at(event, database=database, now=clock) == [row.id]
    assert await looked_at(event, database=database, now=clock) == []
    assert await count(database, "livekit_webhook_receipt") == 1
    another = received(an_event("lobby", event_id="EV_2"))
    assert await looked_at(another, database=database, now=clock) == [row.id]


async def test_an_event_without_a_room_names_no_session(database: Database, clock: FakeClock) -> None:
    await put_session(database, room_name="")
    event = received(an_event(None, kind="egress_ended"))
    assert await looked_at(event, database=database, now=clock) == []


@pytest.mark.parametrize("kind", ["participant_left", "participant_connection_aborted", "room_finished"])
async def test_a_departure_makes_an_active_session_due_now(
    database: Database, clock: FakeClock, kind: str
) -> None:
    row = await put_session(database, room_name="lobby", status=SessionStatus.ACTIVE)
    await looked_at(received(an_event("lobby", kind=kind)), database=database, now=clock)
    stored = await get_session(database, row.id)
    assert (stored.next_check_at, stored.status, stored.version) == (T0, SessionStatus.ACTIVE, row.version)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("room_started", SessionStatus.ACTIVE),
        ("track_published", SessionStatus.ACTIVE),
        ("participant_left", SessionStatus.DISPATCHED),
        ("room_finished", SessionStatus.ENDED),
    ],
)
async def test_anything_else_moves_no_session(
    database: Database, clock: FakeClock, kind: str, status: SessionStatus
) -> None:
    row = await put_session(database, room_name="lobby", status=status)
    await looked_at(received(an_event("lobby", kind=kind)), database=database, now=clock)
    assert await get_session(database, row.id) == row


OUR_AGENT = {"identity": "agent-AJ_1", "kind": "AGENT"}
ANOTHER_AGENT = {"identity": "agent-AJ_2", "kind": "AGENT"}
CALLER = {"identity": "caller-1", "kind": "STANDARD"}


@pytest.mark.parametrize(("participant", "due"), [(OUR_AGENT, False), (CALLER, False), (ANOTHER_AGENT, True)])
async def test_an_agent_that_is_not_the_session_s_own_makes_it_due_now(
    database: Database, clock: FakeClock, participant: dict[str, str], due: bool
) -> None:
    row = await put_session(
        database, room_name="lobby", status=SessionStatus.ACTIVE, agent_identity="agent-AJ_1"
    )
    event = received(an_event("lobby", kind="participant_joined", participant=participant))
    expected = [] if participant is CALLER else [row.id]
    assert await looked_at(event, database=database, now=clock) == expected
    assert (await get_session(database, row.id)).next_check_at == (T0 if due else None)


@pytest.mark.parametrize(
    "status", [SessionStatus.REQUESTED, SessionStatus.DISPATCHING, SessionStatus.DISPATCHED]
)
async def test_an_agent_that_comes_while_one_is_waited_for_is_no_agent_too_many(
    database: Database, clock: FakeClock, status: SessionStatus
) -> None:
    row = await put_session(database, room_name="lobby", status=status)
    event = received(an_event("lobby", kind="participant_joined", participant=OUR_AGENT))
    await looked_at(event, database=database, now=clock)
    assert await get_session(database, row.id) == row


@pytest.mark.parametrize("kind", ["room_started", "participant_joined"])
@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_a_room_that_is_made_anew_after_its_session_is_closed_again(
    database: Database, clock: FakeClock, kind: str, status: SessionStatus
) -> None:
    row = await put_session(database, room_name="lobby", status=status)
    event = received(an_event("lobby", kind=kind, participant=OUR_AGENT))
    assert await looked_at(event, database=database, now=clock) == []
    stored = await get_session(database, row.id)
    assert (stored.next_check_at, stored.status, stored.version) == (T0, status, row.version)


async def test_only_the_newest_session_of_the_room_is_asked_about_it(
    database: Database, clock: FakeClock
) -> None:
    older, newer = [
        await put_session(database, room_name="lobby", status=SessionStatus.ENDED) for _ in range(2)
    ]
    elsewhere = await put_session(database, room_name="other", status=SessionStatus.ENDED)
    await looked_at(received(an_event("lobby", kind="room_started")), database=database, now=clock)
    assert (await get_session(database, newer.id)).next_check_at == T0
    for row in (older, elsewhere):
        assert await get_session(database, row.id) == row


@pytest.mark.parametrize(
    ("kind", "room_is_ours", "successor"),
    [
        ("room_started", False, None),  # the room is the client's, who may use it as he likes
        ("participant_joined", False, None),
        ("room_started", True, SessionStatus.DISPATCHED),  # the room has a new session
        ("participant_joined", True, SessionStatus.ACTIVE),
        ("participant_left", True, None),
        ("track_published", True, None),
    ],
)
async def test_a_session_that_is_over_is_left_in_peace_by_anything_else(
    database: Database,
    clock: FakeClock,
    kind: str,
    room_is_ours: bool,
    successor: SessionStatus | None,
) -> None:
    row = await put_session(
        database, room_name="lobby", status=SessionStatus.ENDED, room_is_ours=room_is_ours
    )
    if successor is not None:
        await put_session(database, room_name="lobby", status=successor)
    event = received(an_event("lobby", kind=kind, participant=CALLER))
    await looked_at(event, database=database, now=clock)
    assert await get_session(database, row.id) == row


@pytest.mark.parametrize("successor", [None, SessionStatus.ACTIVE])
async def test_a_late_agent_makes_its_own_session_due_whoever_has_the_room_by_now(
    database: Database, clock: FakeClock, successor: SessionStatus | None
) -> None:
    row = await put_session(database, room_name="lobby", status=SessionStatus.ENDED, room_is_ours=False)
    if successor is not None:
        await put_session(database, room_name="lobby", status=successor)
    late = {"identity": "agent-AJ_9", "kind": "AGENT", "attributes": {"rollcall.session": row.id}}
    event = received(an_event("lobby", kind="participant_joined", participant=late))
    await looked_at(event, database=database, now=clock)
    assert (await get_session(database, row.id)).next_check_at == T0


async def test_a_repeated_event_makes_nothing_due_a_second_time(database: Database, clock: FakeClock) -> None:
    row = await put_session(database, room_name="lobby", status=SessionStatus.ENDED)
    event = received(an_event("lobby", kind="room_started"))
    await looked_at(event, database=database, now=clock)
    clock.forward(seconds=1)
    await looked_at(event, database=database, now=clock)
    assert (await get_session(database, row.id)).next_check_at == T0


async def test_a_caller_who_arrives_is_dated_once_and_costs_no_look(
    database: Database, clock: FakeClock
) -> None:
    row = await put_session(database, room_name="lobby")
    caller = {"identity": "caller-1", "kind": "STANDARD"}
    for number in (1, 2):
        event = an_event("lobby", kind="participant_joined", event_id=f"EV_{number}", participant=caller)
        assert await looked_at(received(event), database=database, now=clock) == []
        clock.forward(seconds=5)
    assert (await get_session(database, row.id)).caller_joined_at == T0


@pytest.mark.parametrize(
    ("attempt", "agent_name", "noted"),
    [
        ({}, "agent", "agent-AJ_9"),
        ({}, "another", None),
        ({"participant_identity": "agent-AJ_1"}, "agent", "agent-AJ_9"),
        ({"participant_identity": "agent-AJ_1", "active_at": T0}, "agent", "agent-AJ_1"),
        ({"participant_identity": "agent-AJ_1", "reported_at": T0}, "agent", "agent-AJ_1"),
    ],
)
async def test_an_agent_whose_worker_reports_nothing_is_remembered(
    database: Database, clock: FakeClock, attempt: dict[str, Any], agent_name: str, noted: str | None
) -> None:
    row = await put_session(
        database, room_name="lobby", status=SessionStatus.DISPATCHED, attempt={"number": 1, **attempt}
    )
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).attempt = 1
    agent = {"identity": "agent-AJ_9", "kind": "AGENT", "attributes": {"lk.agent_name": agent_name}}
    event = an_event("lobby", kind="participant_joined", participant=agent)
    await looked_at(received(event), database=database, now=clock)
    [stored] = await get_attempts(database, row.id)
    assert stored.participant_identity == noted
    assert (stored.arrived_at == T0) == (noted == "agent-AJ_9")


def _agent_event(kind: str, number: int, sid: str, **participant: Any) -> api.WebhookEvent:
    agent = {"identity": "agent-AJ_9", "sid": sid, "kind": "AGENT", **participant}
    agent.setdefault("attributes", {"lk.agent_name": "agent"})
    return received(an_event("lobby", kind=kind, event_id=f"EV_{number}", participant=agent))


async def _dispatched(database: Database, **attempt: Any) -> SessionRow:
    row = await put_session(
        database, room_name="lobby", status=SessionStatus.DISPATCHED, attempt={"number": 1, **attempt}
    )
    async with database.write() as db:
        (await db.get_one(SessionRow, row.id)).attempt = 1
    return row


@pytest.mark.parametrize("reason", ["CLIENT_INITIATED", "CONNECTION_TIMEOUT", "PARTICIPANT_REMOVED"])
@pytest.mark.parametrize("reports", [True, False])
@pytest.mark.sql
async def test_how_an_agent_left_is_stored_on_its_attempt(
    database: Database, clock: FakeClock, reason: str, reports: bool
) -> None:
    told = {"reported_at": T0, "participant_identity": "agent-AJ_9"} if reports else {}
    row = await _dispatched(database, **told)
    await looked_at(_agent_event("participant_joined", 1, "PA_1"), database=database, now=clock)
    clock.forward(seconds=5)
    left = _agent_event("participant_left", 2, "PA_1", disconnectReason=reason)
    assert await looked_at(left, database=database, now=clock) == [row.id]
    [stored] = await get_attempts(database, row.id)
    assert (stored.arrived_at, stored.left_at) == (T0, clock())
    assert stored.left_reason == reason.lower()


async def test_a_connection_that_was_replaced_is_no_departure(database: Database, clock: FakeClock) -> None:
    row = await _dispatched(database)
    for number, sid in enumerate(("PA_1", "PA_2")):
        await looked_at(_agent_event("participant_joined", number, sid), database=database, now=clock)
    late = _agent_event("participant_left", 9, "PA_1", disconnectReason="DUPLICATE_IDENTITY")
    await looked_at(late, database=database, now=clock)
    [stored] = await get_attempts(database, row.id)
    assert (stored.participant_sid, stored.left_at, stored.left_reason) == ("PA_2", None, None)


@pytest.mark.parametrize("other", [{"rollcall.session": "another"}, {"rollcall.attempt": "7"}])
async def test_what_becomes_of_an_agent_of_another_attempt_is_not_this_one_s(
    database: Database, clock: FakeClock, other: dict[str, str]
) -> None:
    row = await _dispatched(database)
    attributes = {"lk.agent_name": "agent", "rollcall.session": row.id, "rollcall.attempt": "1", **other}
    for number, kind in enumerate(("participant_joined", "participant_left")):
        event = _agent_event(kind, number, "PA_1", attributes=attributes)
        await looked_at(event, database=database, now=clock)
    [stored] = await get_attempts(database, row.id)
    assert (stored.participant_identity, stored.arrived_at, stored.left_at) == (None, None, None)


async def test_an_event_of_no_interest_is_not_remembered(database: Database, clock: FakeClock) -> None:
    await put_session(database, room_name="lobby")
    event = received(an_event("lobby", kind="track_published"))
    assert await looked_at(event, database=database, now=clock) == []
    assert await count(database, "livekit_webhook_receipt") == 0


@pytest.mark.parametrize(
    ("kind", "participant", "row"),
    [
        ("room_started", None, {"status": SessionStatus.DISPATCHED}),
        ("participant_left", OUR_AGENT, {"status": SessionStatus.ENDED, "room_is_ours": True}),
        ("room_finished", None, {"status": SessionStatus.ENDED, "room_is_ours": True}),
        ("participant_joined", CALLER, {"status": SessionStatus.ACTIVE, "caller_joined_at": T0}),
        ("participant_joined", CALLER, None),
    ],
)
async def test_an_event_that_can_change_nothing_costs_no_transaction(
    database: Database,
    clock: FakeClock,
    kind: str,
    participant: dict[str, str] | None,
    row: dict[str, Any] | None,
) -> None:
    if row is not None:
        await put_session(database, room_name="lobby", **row)
    before = write_transactions()
    event = received(an_event("lobby", kind=kind, participant=participant))
    assert await looked_at(event, database=database, now=clock) == []
    assert await count(database, "livekit_webhook_receipt") == 0
    assert write_transactions() == before
