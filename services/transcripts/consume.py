"""Store the stream's turns in the archive: commit, announce what is stored, and only then acknowledge."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from services.transcripts import metrics
from services.transcripts.admit import NotAdmitted, Parsed, Reason, admit
from services.transcripts.ports import Archive, ArchiveRefused, ArchiveUnavailable, Group
from services.transcripts.traced import Stored, trace_stored
from shared.contracts.events import TurnFinished
from shared.platform.background import finish, stop_all
from shared.platform.clock import Clock
from shared.platform.logs.logs import bound, get_logger
from shared.platform.redis.streams import UNREACHABLE, Entry
from shared.platform.tracing.tracing import trace_fields

log = get_logger(__name__)

RETRY_DELAY_S = 0.5
# One batch is being stored while the previous one is announced.
AT_ONCE = 2
# In a large batch, only so many turns are examined: catching up with a backlog comes first.
ODDITIES_SOUGHT = 100

Refused = tuple[Entry, Reason, str]
SetAside = Callable[[Entry, str], Awaitable[None]]
Answer = TypeVar("Answer")
TellStored = Callable[[Sequence[TurnFinished]], Awaitable[None]]


class Consumer:
    """Stores batches of turns; several may run side by side, since order is by sequence number.

    While one batch is being stored, the next one is read and parsed. At most `AT_ONCE` batches and that one
    are in memory: if the database is slow, turns wait in Redis.
    """

    def __init__(
        self,
        *,
        group: Group,
        archive: Archive,
        set_aside: SetAside,
        tell_stored: TellStored,
        max_turn_bytes: int,
        now: Clock,
    ) -> None:
        self._group = group
        self._archive = archive
        self._set_aside = set_aside
        self._tell_stored = tell_stored
        self._max_turn_bytes = max_turn_bytes
        self._now = now
        self._storing = asyncio.Lock()

    async def run(self) -> None:
        """Consume forever."""
        settling: deque[asyncio.Task[None]] = deque()
        try:
            async for batch in self._group.batches():
                admitted, refused = self._sort(batch)
                if len(settling) == AT_ONCE:
                    await settling.popleft()
                settling.append(asyncio.create_task(self._settle(batch, admitted, refused)))
                # The store's task sends its statement while this one waits for more.
                await asyncio.sleep(0)
        finally:
            await stop_all(settling)
            await finish(self._group.give_back())

    def _sort(self, batch: Sequence[Entry]) -> tuple[list[Parsed], list[Refused]]:
        admitted, refused = [], []
        for entry in batch:
            try:
                admitted.append(admit(entry, max_bytes=self._max_turn_bytes))
            except NotAdmitted as refusal:
                # Not the exception itself: its traceback would keep the whole batch in memory.
                refused.append((entry, refusal.reason, refusal.detail))
            except Exception as error:  # an unforeseen error of one entry; the others go on
                refused.append((entry, Reason.MALFORMED, type(error).__name__))
        return admitted, refused

    async def _settle(self, batch: Sequence[Entry], admitted: list[Parsed], refused: list[Refused]) -> None:
        started, taken_ns = time.monotonic(), time.time_ns()
        try:
            for each in refused:
                await self._dead_letter(*each)
            async with self._storing:
                writing_ns = time.time_ns()
                stored, new = await self._store(await self._of_their_projects(admitted))
            written_ns = time.time_ns()
            # Turns that were set aside are announced too, so that their sender does not send them forever.
            await self._tell_stored([parsed.turn for parsed in admitted])
        except Exception as error:
            # The batch is not acknowledged, so it comes again. Later entries are handled meanwhile.
            expected = isinstance(error, UNREACHABLE)
            log.warning("batch_not_handled", entries=len(batch), error=repr(error), exc_info=not expected)
            await asyncio.sleep(RETRY_DELAY_S)
            self._group.read_again()
            return
        await self._group.acknowledge(batch)
        metrics.batch_settled(len(batch), time.monotonic() - started)
        trace_stored(stored, Stored(taken_ns, writing_ns, written_ns, time.time_ns()))
        self._count(stored, new)
        if new:
            await self._look_for_oddities([parsed.turn for parsed in stored[:ODDITIES_SOUGHT]])

    async def _store(self, turns: Sequence[Parsed]) -> tuple[list[Parsed], int]:
        """Store all turns that can be stored; return the stored ones, and how many of them are new."""
        if not turns:
            return [], 0
        try:
            new, unknown = await self._until_stored([parsed.turn for parsed in turns])
        except ArchiveRefused as refusal:
            if len(turns) == 1:
                await self._set_turn_aside(turns[0], Reason.REFUSED, str(refusal))
                return [], 0
            # One turn spoils the batch: halve the batch until that turn is alone.
            middle = len(turns) // 2
            first, new_first = await self._store(turns[:middle])
            second, new_second = await self._store(turns[middle:])
            return first + second, new_first + new_second
        # A session is committed before its agent is dispatched, so no turn can come before its session.
        for parsed in turns:
            if parsed.turn.session_id in unknown:
                await self._set_turn_aside(parsed, Reason.UNKNOWN_SESSION, parsed.turn.session_id)
        return [parsed for parsed in turns if parsed.turn.session_id not in unknown], new

    async def _of_their_projects(self, turns: list[Parsed]) -> list[Parsed]:
        """Set aside the turns that claim another project than their session's."""
        claims = {parsed.turn.session_id for parsed in turns if parsed.project is not None}
        if not claims:
            return turns
        projects = await self._until_answered(lambda: self._archive.projects(claims))
        ours = []
        for parsed in turns:
            project = projects.get(parsed.turn.session_id)
            if None in (parsed.project, project) or parsed.project == project:
                ours.append(parsed)
            else:
                await self._set_turn_aside(parsed, Reason.FOREIGN_PROJECT, str(parsed.project))
        return ours

    async def _until_stored(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        # The batch stays unacknowledged: if this process dies now, another takes it over.
        return await self._until_answered(lambda: self._archive.store(turns))

    async def _until_answered(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            try:
                return await ask()
            except ArchiveUnavailable as error:
                metrics.database_retried()
                log.debug("batch_waits_for_database", error=str(error))
                await asyncio.sleep(RETRY_DELAY_S)

    async def _set_turn_aside(self, parsed: Parsed, reason: Reason, detail: str) -> None:
        with bound(session_id=parsed.turn.session_id, **trace_fields(parsed.traceparent)):
            await self._dead_letter(parsed.entry, reason, detail)

    async def _dead_letter(self, entry: Entry, reason: Reason, detail: str) -> None:
        log.error("turn_set_aside", reason=reason, entry_id=entry.id)
        await self._set_aside(entry, f"{reason}: {detail}")
        metrics.dead_lettered(reason)

    async def _look_for_oddities(self, turns: Sequence[TurnFinished]) -> None:
        try:
            seen = await self._archive.oddities(turns)
        except (ArchiveUnavailable, ArchiveRefused) as error:
            log.warning("oddities_not_counted", error=str(error))
            return
        metrics.oddities_seen(conflicts=seen.conflicts, gaps=seen.gaps)
        if seen.conflicts:
            log.warning("turns_with_the_same_number", turns=seen.conflicts)

    def _count(self, turns: Sequence[Parsed], new: int) -> None:
        metrics.turns_stored(new, len(turns) - new)
        now = self._now()
        for parsed in turns:
            metrics.turn_lagged(max(0.0, (now - parsed.published_at).total_seconds()))
            if new:  # if the batch was stored before, it has been counted
                metrics.turn_measured(parsed.turn.metrics)
        log.debug("turns_stored", turns=len(turns), new=new)
