"""The events of all projects as they are committed, read once for all who follow a project in this process.

An event's id is a UUIDv7, and transactions don't commit in the order of their ids. So each read looks back
over `LOOK_BACK`, and takes the events that it has not seen. A hint from Redis makes a read of one session
come at once; a poll once a second finds what no hint told of.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col
from sse_starlette import ServerSentEvent

from services.api.auth.access import Principal
from services.api.live.subscriber import Follower
from shared.contracts.events import Envelope
from shared.contracts.identifiers import first_id, made_at, new_id
from shared.core.sessions.tables import EventRow, SessionRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Longer than a transaction may last, and than the clocks of two hosts may differ.
LOOK_BACK: Final = timedelta(seconds=30)
# A follower that was away for longer begins anew.
RESUMABLE: Final = timedelta(days=1)
# Hints that come within this time share a read.
_GATHER_S: Final = 0.03
_PAGE: Final = 200
# A follower that is further behind is let go, comes back, and reads from the database.
_MOST_WAITING: Final = 2000


class ProjectFollower(Follower):
    """Follows the events of its principal's project.

    Events that were committed late come after newer ones, so the id that a client sends back is the newest
    that it was sent. After it comes back, it gets some events again: those of the `LOOK_BACK` before.
    """

    def __init__(self, asking: Principal, *, after: str) -> None:
        super().__init__(asking)
        self.behind = False
        self._after = after
        self._position = after or new_id()
        self._waiting: deque[Envelope] = deque()

    def take(self, envelope: Envelope) -> None:
        """Queue a new event."""
        self.behind = self.behind or len(self._waiting) >= _MOST_WAITING
        if not self.behind:
            self._waiting.append(envelope)
        self.wake.set()

    async def events(self, feed: "ProjectFeed") -> AsyncGenerator[ServerSentEvent, None]:
        """Yield where the stream begins, the events since the position, and then each new one.

        It ends if the client is too far behind.
        """
        made = made_at(self._after) if self._after else None
        resumed = made is not None and made > feed.now() - RESUMABLE
        if not resumed:
            self._position = new_id()
        yield ServerSentEvent(data=_POSITION[resumed], event="position", id=self._position)
        sent: set[str] = set()
        if made is not None and resumed:
            async for envelope in feed.since(self.asking.project, first_id(made - LOOK_BACK)):
                sent.add(envelope.id)
                yield self._positioned(envelope)
        while not self.behind and self.ended is None:
            while self._waiting:
                envelope = self._waiting.popleft()
                if envelope.id not in sent:
                    yield self._positioned(envelope)
            await self.wake.wait()
            self.wake.clear()

    def _positioned(self, envelope: Envelope) -> ServerSentEvent:
        self._position = max(self._position, envelope.id)
        data = envelope.model_dump_json(exclude_none=True)
        return ServerSentEvent(data=data, event=envelope.type, id=self._position)


_POSITION: Final = {True: '{"resumed": true}', False: '{"resumed": false}'}


class ProjectFeed:
    """Gives new events to those who follow their project; reads nothing while nobody does.

    `reading` limits how many feeds read the database at the same time.
    """

    def __init__(self, *, database: Database, reading: asyncio.Semaphore, now: Clock) -> None:
        self.now = now
        self.followers: set[ProjectFollower] = set()
        self._database = database
        self._reading = reading
        self._known: set[str] | None = None
        self._hinted: set[str] = set()
        self._some_hinted = asyncio.Event()
        self._looking = asyncio.Lock()

    @asynccontextmanager
    async def followed_by(self, follower: ProjectFollower) -> AsyncIterator[None]:
        """Give the follower every event that is committed from now on; raises one of `DATABASE_ERRORS`."""
        self.followers.add(follower)
        try:
            async with self._looking:
                if self._known is None:
                    self._known = set(await self._ids(None))
            yield
        finally:
            self.followers.discard(follower)
            if not self.followers:
                self._known = None

    def hint(self, session_id: str) -> None:
        """Note that a session has new events."""
        if self.followers:
            self._hinted.add(session_id)
            self._some_hinted.set()

    async def look_for_ever(self) -> None:
        """Read the sessions that hints name."""
        while True:
            await self._some_hinted.wait()
            await asyncio.sleep(_GATHER_S)
            self._some_hinted.clear()
            hinted, self._hinted = self._hinted, set()
            await self.read_news(hinted)

    async def read_news(self, session_ids: Collection[str] | None = None) -> None:
        """Read new events, of these sessions or of all, and give them to the followers."""
        try:
            async with self._looking:
                await self._read_new(session_ids)
        except DATABASE_ERRORS as error:
            log.warning("project_events_not_read", error=repr(error))  # the next poll finds them

    async def since(self, project: str, after: str) -> AsyncIterator[Envelope]:
        """Yield a project's stored events from an id on, in the order of their ids, a page at a time."""
        while True:
            query = _events().where(col(SessionRow.project) == project, col(EventRow.id) > after)
            async with self._reading, self._database.read() as db:
                page = (await db.execute(query.order_by(col(EventRow.id)).limit(_PAGE))).all()
            for envelope in _written([row for row, _ in page]):
                yield envelope
            if len(page) < _PAGE:
                return
            after = page[-1][0].id

    async def _read_new(self, session_ids: Collection[str] | None) -> None:
        known = self._known  # the last follower may leave meanwhile
        if known is None:
            return
        found = await self._ids(session_ids)
        new = [each for each in found if each not in known]
        for start in range(0, len(new), _PAGE):
            page = new[start : start + _PAGE]
            async with self._reading, self._database.read() as db:
                await self._give(db, page)
            known.update(page)
        if session_ids is None:
            known.intersection_update(found)  # the older ones are not looked at any more

    async def _give(self, db: AsyncSession, ids: Sequence[str]) -> None:
        rows = (await db.execute(_events().where(col(EventRow.id).in_(ids)).order_by(col(EventRow.id)))).all()
        for row, project in rows:
            for envelope in _written([row]):
                for follower in self.followers:
                    if follower.asking.project == project:
                        follower.take(envelope)

    async def _ids(self, session_ids: Collection[str] | None) -> Sequence[str]:
        query = select(col(EventRow.id)).where(col(EventRow.id) > first_id(self.now() - LOOK_BACK))
        if session_ids is not None:
            query = query.where(col(EventRow.session_id).in_(session_ids))
        async with self._reading, self._database.read() as db:
            return (await db.scalars(query.order_by(col(EventRow.id)))).all()


def _events() -> Select[EventRow, str]:
    return select(EventRow, col(SessionRow.project)).join(
        SessionRow, col(SessionRow.id) == col(EventRow.session_id)
    )


def _written(rows: Sequence[EventRow]) -> Iterator[Envelope]:
    """Return the events' envelopes, without those that can't be written as one, as the relay does."""
    for row in rows:
        try:
            yield row.envelope()
        except ValueError:
            log.warning("event_left_out", session_id=row.session_id, event_id=row.id)
