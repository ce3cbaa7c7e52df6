"""Look after reservations: find those whose caller has joined, and let those expire that nobody used.

LiveKit's webhooks tell of a caller at once; this is for those that are lost, or were never set up. A room
has the name of one reservation and nobody makes it but its caller, so that one call a second, which asks
LiveKit which of these rooms there are, is nearly all it costs. One verifier at a time does it.
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
# More than these take turns.
MOST_ROOMS: Final = 1000
MOST_LOOKS: Final = 20
# A LiveKit that is away for so long keeps no reservation alive any more.
UNSEEN_FOR: Final = timedelta(minutes=10)
NOBODY_JOINED: Final = "nobody joined"


class Reservations:
    """Runs in every verifier; works in the one that holds the lease."""

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
        """Look after them for ever; what fails now is found again at the next turn."""
        await every(TICK_S, self.look_at_rooms, lease=self._lease, of=(Exception,), note=_note)

    async def look_at_rooms(self) -> None:
        """Look once at up to `MOST_ROOMS` reservations, those that end first before the others."""
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
        order = (col(SessionRow.deadline_at), col(SessionRow.id))
        some = select(SessionRow).where(is_reserved()).order_by(*order).limit(MOST_ROOMS)
        if self._looked_up_to is not None:
            deadline_at, session_id = self._looked_up_to
            some = some.where(tuple_(*order) > tuple_(literal(deadline_at, UtcDateTime), literal(session_id)))
        async with self._database.read() as db:
            rows = (await db.scalars(some)).all()
        self._looked_up_to = (rows[-1].deadline_at, rows[-1].id) if len(rows) == MOST_ROOMS else None
        return rows

    async def _request_joined(self, rows: Sequence[SessionRow]) -> set[str]:
        """Request those in whose room there is somebody; return of which sessions it is not known."""
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
        self._relay.nudge(row.id)
        if became == SessionStatus.REQUESTED:
            with bound_to(row):
                log.info("reservation_used")

    async def _expire(self, rows: Sequence[SessionRow], there: set[str]) -> None:
        """The quiet end. A room that somebody has made and left is closed."""
        for row in rows:
            if row.status != SessionStatus.RESERVED:
                continue  # requested a moment ago
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
            self._relay.nudge(row.id)
            log.info("reservation_expired", session_id=row.id, room=row.room_name)


def _note(error: Exception) -> None:
    if isinstance(error, DATABASE_ERRORS):
        log.warning("reservations_interrupted", error=repr(error))
    else:
        log.exception("reservations_failed", exc_info=error)
