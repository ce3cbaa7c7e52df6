"""Collect rooms that should not be there any more.

A crash between two calls, or a late agent whose token makes its room anew, leaves a room with an agent
and nobody to close it. LiveKit's list of rooms against our sessions shows them all, whatever the reason.
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from services.verifier import metrics
from services.verifier.ports import Rooms
from shared.contracts.sessions import LIVE, TERMINAL
from shared.runtime.clock import Clock
from shared.runtime.database import Database
from shared.runtime.livekit import LiveKitError
from shared.runtime.logs import get_logger
from shared.runtime.tables import SessionRow

log = get_logger(__name__)

INTERVAL = timedelta(seconds=60)
# The closer is at it until then.
SETTLED = timedelta(seconds=15)
_BATCH = 500


class Collector:
    """Finds rooms of ours whose session is over, and has them closed once more."""

    def __init__(self, *, database: Database, rooms: Rooms, now: Clock) -> None:
        self._database = database
        self._rooms = rooms
        self._now = now

    async def collect(self) -> int:
        """Compare LiveKit's rooms with our sessions; return how many are to be closed."""
        try:
            names = await self._rooms.room_names()
        except LiveKitError as error:
            log.warning("rooms_not_collected", error=str(error))
            return 0
        found = 0
        for start in range(0, len(names), _BATCH):
            found += await self._close_left_over(names[start : start + _BATCH])
        return found

    async def _close_left_over(self, names: list[str]) -> int:
        now = self._now()
        other = aliased(SessionRow)
        lives = select(col(other.id)).where(
            col(other.room_name) == col(SessionRow.room_name), col(other.status).in_(LIVE)
        )
        left_over = select(col(SessionRow.id)).where(
            col(SessionRow.room_name).in_(names),
            col(SessionRow.room_is_ours).is_(True),
            col(SessionRow.status).in_(TERMINAL),
            col(SessionRow.ended_at) <= now - SETTLED,
            col(SessionRow.next_check_at).is_(None),
            ~lives.exists(),
        )
        async with self._database.write() as db:
            ids = (await db.scalars(left_over)).all()
            if ids:
                await db.execute(
                    update(SessionRow).where(col(SessionRow.id).in_(ids)).values(next_check_at=now)
                )
        if ids:
            metrics.rooms_collected(len(ids))
            log.warning("left_over_rooms_found", rooms=len(ids))
        return len(ids)
