"""Look after reservations: find those whose caller has joined, and expire unused ones.

LiveKit's webhooks report a caller at once. This module covers webhooks that are lost or not set up. A room's
name belongs to one reservation, and only its caller creates the room. So one call a second, which asks
LiveKit which of these rooms exist, is nearly the whole cost. One verifier at a time does it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import literal, select, tuple_
from sqlmodel import col

from services.verifier import metrics
from services.verifier.ports import Rooms
from shared.contracts.events import SessionExpired
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import SessionLimitSettings
from shared.core.admission.reservations import is_reserved, request_reserved
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import end
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.clock import Clock
from shared.platform.database.columns import UtcDateTime
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.database.set_aside import write_what_can_be
from shared.platform.lease import Lease, every
from shared.platform.livekit.client import LiveKitError, is_caller
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

LEASE: Final = "reservations"
LEASE_TERM: Final = timedelta(seconds=5)
TICK_S: Final = 1.0
# Beyond this number, reservations take turns.
MOST_ROOMS: Final = 1000
MOST_LOOKS: Final = 20
# If LiveKit is down for longer than this, reservations expire without asking it.
UNSEEN_FOR: Final = timedelta(minutes=10)
NOBODY_JOINED: Final = "nobody joined"
_EXPIRING_FIRST: Final = (col(SessionRow.deadline_at), col(SessionRow.id))
_RESERVED: Final = select(SessionRow).where(is_reserved()).order_by(*_EXPIRING_FIRST)


class Reservations:
    """Runs in every verifier; only the one that holds the lease works."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        relay: Relay,
        limits: SessionLimitSettings,
        join_budget_s: float,
        holder: str,
        now: Clock,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._relay = relay
        self._limits = limits
        self._join_budget_s = join_budget_s
        self._lease = Lease(database, name=LEASE, holder=holder, term=LEASE_TERM, now=now)
        self._now = now
        self._looked_up_to: tuple[datetime, str] | None = None

    async def run(self) -> None:
        """Look after reservations forever. What fails now is tried again in the next round."""
        await every(TICK_S, self.look_at_rooms, lease=self._lease, of=(Exception,), note=_note)

    async def look_at_rooms(self) -> None:
        """Look once at up to `MOST_ROOMS` reservations, those that expire first before the others."""
        rows = await self._next_rows()
        if not rows:
            return
        try:
            there = {room.name for room in await self._rooms.rooms([row.room_name for row in rows])}
            unsure = await self._request_joined([row for row in rows if row.room_name in there])
        except LiveKitError as error:
            log.warning("reservations_not_seen", error=str(error))
            await self._expire([row for row in rows if row.deadline_at <= self._now() - UNSEEN_FOR], set())
            return
        over = [row for row in rows if row.deadline_at <= self._now() and row.id not in unsure]
        await self._expire(over, there)

    async def _next_rows(self) -> Sequence[SessionRow]:
        some = _RESERVED.limit(MOST_ROOMS)
        if self._looked_up_to is not None:
            deadline_at, session_id = self._looked_up_to
            last = tuple_(literal(deadline_at, UtcDateTime), literal(session_id))
            some = some.where(tuple_(*_EXPIRING_FIRST) > last)
        async with self._database.read() as db:
            rows = (await db.scalars(some)).all()
        self._looked_up_to = (rows[-1].deadline_at, rows[-1].id) if len(rows) == MOST_ROOMS else None
        return rows

    async def _request_joined(self, rows: Sequence[SessionRow]) -> set[str]:
        """Request the reservations whose caller is in the room.

        Return the sessions for which it is unknown.
        """
        for row in rows[:MOST_LOOKS]:
            if any(map(is_caller, await self._rooms.participants(row.room_name))):
                await write_what_can_be(
                    [row], self._request, what="reservation", name=lambda one: str(one.id)
                )
        return {row.id for row in rows[MOST_LOOKS:]}

    async def _request(self, rows: Sequence[SessionRow]) -> None:
        [row] = rows
        async with self._database.write() as db:
            became = await request_reserved(
                db,
                row,
                limits=self._limits,
                join_budget_s=self._join_budget_s,
                now=self._now(),
                joined=True,
            )
        if became is None:
            return
        metrics.reservation_over("used" if became == SessionStatus.REQUESTED else "refused")
        self._relay.publish_soon(row.id)
        if became == SessionStatus.REQUESTED:
            with bound_to(row):
                log.info("reservation_used")

    async def _expire(self, rows: Sequence[SessionRow], there: set[str]) -> None:
        """Expire reservations quietly. A room that a caller created and left is closed."""
        for row in rows:
            if row.status != SessionStatus.RESERVED:
                continue  # it was requested a moment ago
            await write_what_can_be(
                [row], partial(self._expire_one, there), what="reservation", name=lambda one: str(one.id)
            )

    async def _expire_one(self, there: set[str], rows: Sequence[SessionRow]) -> None:
        [row] = rows
        now = self._now()
        async with self._database.write() as db:
            won = await end(
                db,
                row,
                SessionStatus.EXPIRED,
                event=SessionExpired(reason=NOBODY_JOINED),
                now=now,
                end_reason=NOBODY_JOINED,
                next_check_at=now if row.room_name in there else None,
            )
        if won:
            metrics.reservation_over("expired")
            self._relay.publish_soon(row.id)
            log.info("reservation_expired", session_id=row.id, room=row.room_name)


def _note(error: Exception) -> None:
    if isinstance(error, DATABASE_ERRORS):
        log.warning("reservations_interrupted", error=repr(error))
    else:
        log.exception("reservations_failed", exc_info=error)
