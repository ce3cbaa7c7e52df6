"""Close an ended session: withdraw its dispatches, remove its agents, and close its room if allowed.

This is done twice, a few seconds apart, if an agent may come late: one that had taken the job, but had not
connected when the room was deleted, would create the room again. If the session has a cause, its caller gets
it before the room is closed.
"""

import json
from collections.abc import Awaitable
from datetime import datetime, timedelta

from livekit.protocol.models import Room
from redis.asyncio import Redis

from services.verifier.close.remains import Remains, identities_of_jobs, remains_of
from services.verifier.ports import Rooms
from services.verifier.repository import Repository
from shared.contracts.keys import CLOSE_TASK, FENCE_CLOSED, SESSION_ATTRIBUTE
from shared.contracts.sessions import TERMINAL
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to, task_span
from shared.core.workers.fence import set_fence
from shared.platform.clock import Clock
from shared.platform.livekit.client import LiveKitError, NotFound
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

SECOND_LOOK = timedelta(seconds=10)
RETRY = timedelta(seconds=2)
GIVE_UP = timedelta(minutes=10)


class Closer:
    """Closes ended sessions in LiveKit."""

    def __init__(self, *, repository: Repository, rooms: Rooms, redis: Redis, now: Clock) -> None:
        self._repository = repository
        self._rooms = rooms
        self._redis = redis
        self._now = now

    async def close(self, row: SessionRow | None) -> None:
        """Do what is left to do for this session; nothing if it is live or already closed."""
        if row is None or row.status not in TERMINAL or row.next_check_at is None:
            return
        with bound_to(row, attempt=row.attempt), task_span(CLOSE_TASK, row):
            await set_fence(self._redis, row.id, FENCE_CLOSED)
            # In a room of ours there may be a caller, with a token and without an agent.
            if row.attempt == 0 and not row.room_is_ours:
                await self._repository.look_again(row, at=None)
                return
            try:
                await self._clear(row)
            except LiveKitError as error:
                log.warning("session_not_closed", error=str(error))
                await self._repository.look_again(row, at=self._after(row, RETRY, error=error))
                return
            await self._repository.look_again(row, at=self._after(row, SECOND_LOOK))

    async def _clear(self, row: SessionRow) -> None:
        """Take out of LiveKit what is left of the session, with as few calls as the room allows.

        1. Put the cause into the room's state, so that a caller who joins right now gets it too.
        2. A room of the session's own, with nobody but its caller and agents in it: close it. LiveKit deletes
           the dispatches of a room with the room (livekit-server 1.13.5, pkg/service/redisstore.go).
        3. Any other room: withdraw the session's dispatches, look who is there, and close the room or remove
           the session's agents.
        """
        if row.room_is_ours and row.cause is not None:
            await _if_there(self._rooms.set_room_metadata(row.room_name, why_over(row)))
        if row.room_is_ours and (await self._look(row, None, set())).may_close:
            await self._close_room(row.room_name)
            return
        room = await self._rooms.room(row.room_name)
        if room is None:
            return
        dispatches = await self._rooms.dispatches(room.name)
        mine = [one for one in dispatches if one.attributes.get(SESSION_ATTRIBUTE) == row.id]
        for dispatch in mine:
            await _if_there(self._rooms.delete_dispatch(room.name, dispatch.id))
        left = await self._look(row, room, identities_of_jobs(dispatches, row.id))
        # No other step in between, since somebody else may be about to join.
        if left.may_close:
            await self._close_room(room.name)
            return
        for agent in left.agents:
            await _if_there(self._rooms.remove_participant(room.name, agent.identity))

    async def _close_room(self, name: str) -> None:
        await _if_there(self._rooms.delete_room(name))
        log.info("room_closed")

    async def _look(self, row: SessionRow, room: Room | None, jobs: set[str]) -> Remains:
        present = await self._rooms.participants(row.room_name)
        superseded = await self._repository.is_superseded(row)
        return remains_of(row, room, present, jobs=jobs, superseded=superseded, now=self._now())

    def _after(
        self, row: SessionRow, delay: timedelta, *, error: LiveKitError | None = None
    ) -> datetime | None:
        age = self._now() - (row.ended_at or row.requested_at)
        if error is None:
            done = age >= SECOND_LOOK or not _may_come_late(row)
        else:
            done = age >= GIVE_UP or not error.retryable
        return None if done else self._now() + delay


def why_over(row: SessionRow) -> str:
    """Return the JSON for a room's metadata, which the caller's app can read before the room is closed."""
    return json.dumps({"rollcall": {"session_id": row.id, "status": row.status, "cause": row.cause}})


def _may_come_late(row: SessionRow) -> bool:
    """Return whether an agent may have taken a job of this session that nobody has seen in the room.

    The one attempt of a session that brought its agent has no other job.
    """
    return row.attempt != 1 or row.agent_sid is None


async def _if_there(call: Awaitable[None]) -> None:
    try:
        await call
    except NotFound:
        return
