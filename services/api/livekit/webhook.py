"""LiveKit's webhooks: verify each, record it once, and turn it into a hint.

A webhook proves nothing. LiveKit waits for the answer before it sends the room's next event, so the answer is
sent as soon as the receipt is committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from livekit import api
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.webhook import WebhookEvent
from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api import metrics
from services.api.errors.problems import Problem
from services.api.livekit import presence
from shared.contracts.keys import SESSION_ATTRIBUTE
from shared.contracts.sessions import LIVE, SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.admission.reservations import request_reserved
from shared.core.livekit.tables import WebhookReceiptRow
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import close_again, make_due, note_caller_joined
from shared.platform.clock import Clock
from shared.platform.database.database import Database, changed
from shared.platform.database.insert import insert_into
from shared.platform.livekit.client import is_caller
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Events that may mean that an active session's agent or caller is gone.
DEPARTURES = frozenset({"participant_left", "participant_connection_aborted", "room_finished"})
# Events that should no longer happen in the room of an ended session.
ARRIVALS = frozenset({"room_started", "participant_joined"})
_OF_INTEREST = DEPARTURES | ARRIVALS


def verify_webhook(body: bytes, authorization: str | None, receiver: api.WebhookReceiver) -> WebhookEvent:
    """Return the event if its signature matches exactly this body; raises `Problem` if not."""
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


@dataclass(frozen=True)
class Received:
    """What follows from an event: sessions to look at now, and reservations that it turned into requests."""

    to_look_at: Sequence[str] = ()
    moved: Sequence[str] = ()


async def receive_webhook(
    event: WebhookEvent,
    *,
    database: Database,
    limits: SessionLimitSettings,
    join_budget_s: float,
    now: Clock,
) -> Received:
    """Record the event, and return what follows. From a repeated event, nothing follows.

    An event that can't change anything is not recorded, since LiveKit sends several for each track. A read
    tells whether it can. What another process changes after the read is no loss: LiveKit sent the event
    before that change, and whoever made it looks at the room next.
    """
    if event.event not in _OF_INTEREST or not await _may_change_something(event, database):
        metrics.webhook_received("of_no_interest")
        return Received()
    receipt = {
        "id": event.id,
        "event": event.event,
        "room_name": event.room.name or None,
        "received_at": now(),
    }
    came_at = now()  # taken now: the time between two events matters, and the transaction may have to wait
    async with database.write() as db:
        new = insert_into(db, WebhookReceiptRow).values(receipt).on_conflict_do_nothing()
        if not await changed(db, new):
            metrics.webhook_received("repeated")
            return Received()
        live = await _live_sessions(db, event.room.name) if event.room.name else []
        sessions = [one.id for one in live]
        reserved = [one.id for one in live if one.status == SessionStatus.RESERVED]
        asked = {"limits": limits, "join_budget_s": join_budget_s, "now": now()}
        moved = await _request(db, reserved, event, **asked) if reserved else []
        if sessions:
            await _note_presence(db, sessions, event, came_at)
        due = _due_in_live_room(event) if sessions else await _due_in_left_room(db, event)
        if due is not None:
            await make_due(db, due, at=now())
        if _is_arrival_of(event, _is_any_agent):
            await _agent_is_late(db, event.participant, now())
    metrics.webhook_received("accepted")
    # A look costs a call to LiveKit, so only events that may decide whether a session has its agent cause
    # one.
    looks = event.event in DEPARTURES or _is_arrival_of(event, _is_any_agent)
    return Received(to_look_at=sessions if looks else (), moved=moved)


async def _may_change_something(event: WebhookEvent, database: Database) -> bool:
    """Return False if neither a session nor a look at a room can depend on this event.

    1. A room with live sessions: departures, agents that arrive, callers that nobody has seen yet, and
       whatever makes a request of a reservation.
    2. Any other room: an arrival, if a session had this room, or if the agent that arrives names one.
    """
    named = event.participant.attributes.get(SESSION_ATTRIBUTE)
    async with database.read() as db:
        live = await _live_sessions(db, event.room.name) if event.room.name else []
        if live and (event.event in DEPARTURES or _is_arrival_of(event, _is_any_agent)):
            return True
        if any(_waits_for_caller(one, event) for one in live):
            return True
        if live or event.event not in ARRIVALS:
            return False
        return named is not None or await _due_in_left_room(db, event) is not None


def _waits_for_caller(session: "_Live", event: WebhookEvent) -> bool:
    if session.status == SessionStatus.RESERVED:
        return event.event in ARRIVALS
    return session.caller_joined_at is None and _is_arrival_of(event, is_caller)


def _is_arrival_of(event: WebhookEvent, whom: Callable[[ParticipantInfo], bool]) -> bool:
    return event.event == "participant_joined" and whom(event.participant)


async def _note_presence(
    db: AsyncSession, sessions: Sequence[str], event: WebhookEvent, now: datetime
) -> None:
    if _is_arrival_of(event, is_caller):
        await note_caller_joined(db, sessions, now=now)
    elif _is_arrival_of(event, _is_any_agent):
        await presence.agent_arrived(db, sessions, event.participant, now)
    elif event.event in DEPARTURES and _is_any_agent(event.participant):
        await presence.agent_left(db, sessions, event.participant, now)


def _is_any_agent(participant: ParticipantInfo) -> bool:
    return participant.kind == ParticipantInfo.Kind.AGENT


async def _request(db: AsyncSession, reserved: Sequence[str], event: WebhookEvent, **asked: Any) -> list[str]:
    """Request these reservations: only their caller creates the room, and is in it or about to join."""
    joined = _is_arrival_of(event, is_caller)
    if not joined and event.event != "room_started":
        return []
    rows = (await db.scalars(select(SessionRow).where(col(SessionRow.id).in_(reserved)))).all()
    return [
        row.id
        for row in rows
        if row.status == SessionStatus.RESERVED
        and await request_reserved(db, row, joined=joined, **asked) is not None
    ]


async def _agent_is_late(db: AsyncSession, agent: ParticipantInfo, now: datetime) -> None:
    """Have an agent removed whose session is over, whoever is in its room by now."""
    session_id = agent.attributes.get(SESSION_ATTRIBUTE)
    if session_id is not None:
        await close_again(db, session_id, now=now)


class _Live(NamedTuple):
    """A live session of the event's room."""

    id: str
    status: str
    caller_joined_at: datetime | None


async def _live_sessions(db: AsyncSession, room_name: str) -> list[_Live]:
    live = select(col(SessionRow.id), col(SessionRow.status), col(SessionRow.caller_joined_at)).where(
        col(SessionRow.room_name) == room_name, col(SessionRow.status).in_(LIVE)
    )
    return [_Live(*found) for found in await db.execute(live)]


def _due_in_live_room(event: WebhookEvent) -> ColumnElement[bool] | None:
    """Return a condition for the room's active sessions that this event makes due.

    None if it makes none due.
    """
    active = and_(
        col(SessionRow.room_name) == event.room.name, col(SessionRow.status) == SessionStatus.ACTIVE
    )
    if event.event in DEPARTURES:
        return active
    if _is_arrival_of(event, _is_any_agent):
        return and_(active, col(SessionRow.agent_identity).is_distinct_from(event.participant.identity))
    return None


async def _due_in_left_room(db: AsyncSession, event: WebhookEvent) -> ColumnElement[bool] | None:
    """Return a condition for the last session of our room, if somebody created the room after its end.

    For example, a late agent creates it again.
    """
    if event.event not in ARRIVALS or not event.room.name:
        return None
    newest = (
        select(col(SessionRow.id))
        .where(col(SessionRow.room_name) == event.room.name)
        .order_by(col(SessionRow.id).desc())
        .limit(1)
    )
    session_id = await db.scalar(newest)
    if session_id is None:
        return None
    return and_(col(SessionRow.id) == session_id, col(SessionRow.room_is_ours).is_(True))
