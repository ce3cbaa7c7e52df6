"""Collect rooms that should no longer exist.

After a crash between two calls, or when a late agent creates its room again, a room with an agent remains
that nothing closes. Comparing LiveKit's list of rooms with our sessions finds all such rooms, whatever the
reason.
"""

from collections.abc import Mapping
from datetime import timedelta

from livekit.protocol.models import Room
from sqlalchemy import select
from sqlmodel import col

from services.verifier import metrics
from services.verifier.close.remains import is_superseded, remains_of
from services.verifier.ports import Rooms
from shared.contracts.sessions import TERMINAL
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.upkeep import make_due
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.livekit.client import LiveKitError
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

INTERVAL = timedelta(seconds=60)
# Until then, the closer still works on the room.
SETTLED = timedelta(seconds=15)
_BATCH = 500


class Collector:
    """Finds rooms of ended sessions, and has them closed once more."""

    def __init__(self, *, database: Database, rooms: Rooms, now: Clock) -> None:
        self._database = database
        self._rooms = rooms
        self._now = now

    async def collect(self) -> int:
        """Compare LiveKit's rooms with our sessions; return how many must be closed."""
        found = 0
        try:
            rooms = await self._rooms.rooms()
            for start in range(0, len(rooms), _BATCH):
                found += await self._close_left_over({one.name: one for one in rooms[start : start + _BATCH]})
        except LiveKitError as error:
            log.warning("rooms_not_collected", error=str(error))
        return found

    async def _close_left_over(self, rooms: Mapping[str, Room]) -> int:
        now = self._now()
        over = select(SessionRow).where(
            col(SessionRow.room_name).in_(rooms),
            col(SessionRow.room_is_ours).is_(True),
            col(SessionRow.status).in_(TERMINAL),
            col(SessionRow.ended_at) <= now - SETTLED,
            col(SessionRow.next_check_at).is_(None),
            ~is_superseded(),
        )
        async with self._database.read() as db:
            rows = (await db.scalars(over)).all()
        ids = [row.id for row in rows if await self._is_left_over(row, rooms[row.room_name])]
        if not ids:
            return 0
        async with self._database.write() as db:
            await make_due(db, col(SessionRow.id).in_(ids), col(SessionRow.next_check_at).is_(None), at=now)
        metrics.rooms_collected(len(ids))
        log.warning("left_over_rooms_found", rooms=len(ids))
        return len(ids)

    async def _is_left_over(self, row: SessionRow, room: Room) -> bool:
        """Return whether the closer has anything to do. People may meet in the room long after a session."""
        present = await self._rooms.participants(room.name)
        left = remains_of(row, room, present, jobs=(), superseded=False, now=self._now())
        return left.may_close or bool(left.agents)
