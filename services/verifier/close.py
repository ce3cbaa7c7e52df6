"""Close a session that is over: its dispatches withdrawn, its agent gone, its room closed.

Done twice, a few seconds apart: an agent that had taken the job but not yet connected when the room was
deleted would make the room anew.
"""

from collections.abc import Awaitable
from datetime import datetime, timedelta

from redis.asyncio import Redis

from services.verifier.ports import Rooms
from services.verifier.rulings import Rulings
from shared.contracts.keys import FENCE_CLOSED, SESSION_ATTRIBUTE
from shared.contracts.sessions import TERMINAL, SessionStatus
from shared.runtime.clock import Clock
from shared.runtime.fence import set_fence
from shared.runtime.livekit import LiveKitError, NotFound
from shared.runtime.logs import bound, get_logger
from shared.runtime.tables import SessionRow

log = get_logger(__name__)

SECOND_LOOK = timedelta(seconds=10)
RETRY = timedelta(seconds=2)
GIVE_UP = timedelta(minutes=10)


class Closer:
    """Closes ended sessions in LiveKit."""

    def __init__(self, *, rulings: Rulings, rooms: Rooms, redis: Redis, now: Clock) -> None:
        self._rulings = rulings
        self._rooms = rooms
        self._redis = redis
        self._now = now

    async def close(self, row: SessionRow | None) -> None:
        """Do what is left to do for this session; nothing if it lives, or is closed."""
        if row is None or row.status not in TERMINAL or row.next_check_at is None:
            return
        with bound(session_id=row.id, room=row.room_name, attempt=row.attempt):
            await set_fence(self._redis, row.id, FENCE_CLOSED)
            # In a room of its own there may be a caller, with a token and without an agent.
            if row.attempt == 0 and not row.room_is_ours:
                await self._rulings.look_again(row, at=None)
                return
            try:
                await self._clear(row)
            except LiveKitError as error:
                log.warning("session_not_closed", error=str(error))
                await self._rulings.look_again(row, at=self._after(row, RETRY, error=error))
                return
            await self._rulings.look_again(row, at=self._after(row, SECOND_LOOK))

    async def _clear(self, row: SessionRow) -> None:
        if not await self._rooms.room_exists(row.room_name):
            return
        for dispatch in await self._rooms.dispatches(row.room_name):
            if dispatch.attributes.get(SESSION_ATTRIBUTE) == row.id:
                await _if_there(self._rooms.delete_dispatch(row.room_name, dispatch.id))
        if row.room_is_ours or row.status in (SessionStatus.ENDED, SessionStatus.CANCELLED):
            await _if_there(self._rooms.delete_room(row.room_name))
            log.info("room_closed")
            return
        # The room belongs to somebody else: only our agent leaves.
        for participant in await self._rooms.participants(row.room_name):
            if participant.attributes.get(SESSION_ATTRIBUTE) == row.id:
                await _if_there(self._rooms.remove_participant(row.room_name, participant.identity))

    def _after(
        self, row: SessionRow, delay: timedelta, *, error: LiveKitError | None = None
    ) -> datetime | None:
        age = self._now() - (row.ended_at or row.requested_at)
        done = age >= SECOND_LOOK if error is None else age >= GIVE_UP or not error.retryable
        return None if done else self._now() + delay


async def _if_there(call: Awaitable[None]) -> None:
    try:
        await call
    except NotFound:
        return
