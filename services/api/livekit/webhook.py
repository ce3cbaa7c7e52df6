"""LiveKit's webhooks: verify each, record it once, and turn it into a hint.

A webhook proves nothing. LiveKit waits for the answer before it sends the room's next event, so the answer is
sent as soon as the receipt is committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from livekit import api
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.webhook import WebhookEvent
from sqlalchemy import bindparam, select
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
from shared.core.sessions.upkeep import close_again, note_caller_joined, watch_room_now
from shared.platform.clock import Clock
from shared.platform.database.columns import table_of
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
    live = await _whom_it_may_change(event, database) if event.event in _OF_INTEREST else None
    if live is None:
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
        sessions = [one.id for one in live]
        reserved = [one.id for one in live if one.status == SessionStatus.RESERVED]
        asked = {"limits": limits, "join_budget_s": join_budget_s, "now": now()}
        moved = await _request(db, reserved, event, **asked) if reserved else []
        if sessions:
            await _note_presence(db, sessions, event, came_at)
            await _make_due(db, event, now())
        for over in {await _last_of_room(db, event) if not sessions else None, _named(event)}:
            if over is not None and over not in sessions:
                await close_again(db, over, now=now())
    metrics.webhook_received("accepted")
    # A look costs a call to LiveKit, so only events that may decide whether a session has its agent cause
    # one.
    looks = event.event in DEPARTURES or _is_arrival_of(event, _is_any_agent)
    return Received(to_look_at=sessions if looks else (), moved=moved)


async def _whom_it_may_change(event: WebhookEvent, database: Database) -> "list[_Live] | None":
    """Return the room's live sessions; None if no session and no look at a room can depend on this event.

    1. A room with live sessions: departures, agents that arrive, callers that nobody has seen yet, and
       whatever makes a request of a reservation.
    2. Any other room: an arrival, if it was a session's own room, or if the agent that arrives names one.
    """
    async with database.read() as db:
        live = await _live_sessions(db, event.room.name) if event.room.name else []
        if live:
            matters = event.event in DEPARTURES or _is_arrival_of(event, _is_any_agent)
            matters = matters or any(_waits_for_caller(one, event) for one in live)
        else:
            matters = _named(event) is not None or await _last_of_room(db, event) is not None
    return live if matters else None


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


def _named(event: WebhookEvent) -> str | None:
    """Return the session that the agent who arrives names.

    If it is over, the agent is late, and is removed whoever is in its room by now.
    """
    arrived = event.participant if _is_arrival_of(event, _is_any_agent) else ParticipantInfo()
    return arrived.attributes.get(SESSION_ATTRIBUTE)


async def _make_due(db: AsyncSession, event: WebhookEvent, now: datetime) -> None:
    """Make the room's active sessions due, if somebody has left it, or if another agent has come."""
    if event.event in DEPARTURES:
        await watch_room_now(db, event.room.name, now=now)
    elif _is_arrival_of(event, _is_any_agent):
        await watch_room_now(db, event.room.name, unless_of=event.participant.identity, now=now)


class _Live(NamedTuple):
    """A live session of the event's room."""

    id: str
    status: str
    caller_joined_at: datetime | None


async def _live_sessions(db: AsyncSession, room_name: str) -> list[_Live]:
    return [_Live(*found) for found in await db.execute(_LIVE_IN_ROOM, {"room": room_name})]


async def _last_of_room(db: AsyncSession, event: WebhookEvent) -> str | None:
    """Return the last session of a room of ours that somebody creates again, for example a late agent."""
    if event.event not in ARRIVALS or not event.room.name:
        return None
    last = (await db.execute(_NEWEST_IN_ROOM, {"room": event.room.name})).one_or_none()
    return str(last.id) if last is not None and last.room_is_ours else None


# Built once: LiveKit sends several webhooks for each session.
_TABLE: Final = table_of(SessionRow)
_IN_ROOM: Final = _TABLE.c.room_name == bindparam("room")
_LIVE_IN_ROOM: Final = select(_TABLE.c.id, _TABLE.c.status, _TABLE.c.caller_joined_at).where(
    _IN_ROOM, _TABLE.c.status.in_(LIVE)
)
_NEWEST_IN_ROOM: Final = (
    select(_TABLE.c.id, _TABLE.c.room_is_ours).where(_IN_ROOM).order_by(_TABLE.c.id.desc()).limit(1)
)
