"""What this process knows about a followed session, read once for all its followers here.

It keeps numbers and ids, and only the last few events and turns themselves. A follower that is further behind
reads from the database a page at a time, as fast as its client takes it, so that slow followers need no
memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.sessions.read import get_session, read_events
from services.api.transcripts.read.completeness import judge
from shared.contracts.events import Envelope, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import TERMINAL
from shared.core.sessions.tables import EVENT_SOURCE, SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database

# The last turns of a call arrive a little after its end.
LAST_TURNS_GRACE: Final = timedelta(seconds=10)
# A follower that keeps up finds everything new among these.
_RECENT: Final = 32
_PAGE: Final = 50


class SessionFeed:
    """The feed of one session.

    `arrivals` are its turns in the order in which they were found: item id and number. `reading` limits how
    many feeds read the database at the same time, since other routes need connections too.
    """

    def __init__(
        self, session_id: str, *, database: Database, reading: asyncio.Semaphore, now: Clock
    ) -> None:
        self.session_id = session_id
        self.project = ""
        self.status = ""
        self.sequence = 0
        self.arrivals: list[tuple[str, int]] = []
        self.erased = False
        self.over = False
        self._ids: set[str] = set()
        self._recent: OrderedDict[str | int, Envelope] = OrderedDict()
        self._database = database
        self._reading = reading
        self._now = now
        self._looking = asyncio.Lock()
        self._looked = False

    @property
    def turns(self) -> int:
        """How many turns the last read found."""
        return len(self._ids)

    @property
    def ending(self) -> bool:
        """Whether time alone may change the feed: the call is over, and its last turns may still come."""
        return self.status in TERMINAL and not self.over

    async def read_news(self) -> None:
        """Read new events and turns; raises `Problem` and the database's errors."""
        async with self._looking:
            # From one snapshot: a turn stored in between would make the transcript complete without being
            # found.
            async with self._reading, self._database.snapshot() as db:
                row = await get_session(db, self.session_id)
                ids = await self.find_turns(db)
                if self._looked:
                    await self._read_new(db, row, ids)
                over = await self._is_over(db, row)
            # No `await` from here on, so that no follower sees half of the update.
            self.arrivals += [(item_id, seq) for item_id, seq in ids.items() if item_id not in self._ids]
            self._ids = set(ids)
            self.project = row.project
            self.sequence, self.status, self.over = row.last_sequence, row.status, over
            self.erased = row.transcript_erased_at is not None
            self._looked = True

    async def events_after(self, sequence: int) -> Sequence[Envelope]:
        """Return the next known events, in order."""
        wanted = range(sequence + 1, min(self.sequence, sequence + _PAGE) + 1)
        kept = [self._recent[number] for number in wanted if number in self._recent]
        if len(kept) == len(wanted):
            return kept
        async with self._reading, self._database.read() as db:
            return await read_events(db, self.session_id, after=sequence, up_to=wanted[-1])

    async def turns_of(self, arrivals: Sequence[tuple[str, int]]) -> AsyncIterator[tuple[int, Envelope]]:
        """Return these turns in order, with their numbers, without turns that were deleted meanwhile."""
        for start in range(0, len(arrivals), _PAGE):
            page = dict(arrivals[start : start + _PAGE])
            found = {item_id: self._recent[item_id] for item_id in page if item_id in self._recent}
            if len(found) < len(page):
                async with self._reading, self._database.read() as db:
                    found = await _read_turns(db, self.session_id, list(page))
            for item_id, seq in page.items():
                if item_id in found:
                    yield seq, found[item_id]

    async def find_turns(self, db: AsyncSession) -> dict[str, int]:
        """Return the sequence numbers of the stored turns by item, in their order."""
        item_id, seq = col(TranscriptItemRow.item_id), col(TranscriptItemRow.seq)
        query = select(item_id, seq).where(col(TranscriptItemRow.session_id) == self.session_id)
        return {row.item_id: row.seq for row in await db.execute(query.order_by(seq, item_id))}

    async def _read_new(self, db: AsyncSession, row: SessionRow, ids: dict[str, int]) -> None:
        new = [item_id for item_id in ids if item_id not in self._ids]
        for event in await read_events(db, self.session_id, after=self.sequence, up_to=row.last_sequence):
            self._recent[event.sequence or 0] = event
        self._recent.update(await _read_turns(db, self.session_id, new[-_RECENT:]))
        if row.transcript_erased_at is not None and not self.erased:
            self._recent.clear()
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def _is_over(self, db: AsyncSession, row: SessionRow) -> bool:
        if row.status not in TERMINAL:
            return False
        now = self._now()
        if row.ended_at is None or now - row.ended_at >= LAST_TURNS_GRACE:
            return True
        return (await judge(db, row, now=now)).complete is True


async def _read_turns(db: AsyncSession, session_id: str, item_ids: Sequence[str]) -> dict[str, Envelope]:
    if not item_ids:
        return {}
    query = select(TranscriptItemRow).where(
        col(TranscriptItemRow.session_id) == session_id, col(TranscriptItemRow.item_id).in_(item_ids)
    )
    return {row.item_id: _envelope(row) for row in await db.scalars(query)}


def _envelope(row: TranscriptItemRow) -> Envelope:
    """Return the stored turn as an event whose id is always the same."""
    turn = TurnFinished.model_validate(row.model_dump())
    return wrap(
        turn,
        session_id=SessionId(row.session_id),
        source=EVENT_SOURCE,
        time=row.created_at,
        event_id=f"{row.session_id}/{row.item_id}",
    )
