"""Take turns from the stream into the archive: acknowledge only what is committed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.transcripts import metrics
from services.transcripts.ports import Archive, ArchiveRefused, ArchiveUnavailable, Group
from shared.contracts.events import TurnFinished
from shared.runtime.clock import Clock
from shared.runtime.logs import get_logger
from shared.runtime.streams import UNREACHABLE, Entry

log = get_logger(__name__)

RETRY_DELAY_S = 0.5

SetAside = Callable[[Entry, str], Awaitable[None]]


@dataclass(frozen=True)
class Parsed:
    """A turn, and the entry that brought it."""

    entry: Entry
    turn: TurnFinished
    published_at: datetime


class Consumer:
    """Stores batches of turns; several may run side by side, since order is by sequence number."""

    def __init__(self, *, group: Group, archive: Archive, set_aside: SetAside, now: Clock) -> None:
        self._group = group
        self._archive = archive
        self._set_aside = set_aside
        self._now = now

    async def run(self) -> None:
        """Consume for ever."""
        async for batch in self._group.batches():
            try:
                await self._handle(batch)
            except UNREACHABLE as error:
                # Not acknowledged, so it comes again.
                log.warning("batch_not_handled", entries=len(batch), error=repr(error))

    async def _handle(self, batch: Sequence[Entry]) -> None:
        turns = [parsed for entry in batch if (parsed := await self._parse(entry)) is not None]
        if turns:
            await self._store(turns)
        await self._group.acknowledge(batch)

    async def _store(self, turns: Sequence[Parsed]) -> None:
        """Store all of them, but for those that can't be."""
        try:
            new, unknown = await self._until_stored([parsed.turn for parsed in turns])
        except ArchiveRefused as refusal:
            if len(turns) == 1:
                await self._dead_letter(turns[0].entry, "refused", str(refusal))
                return
            # One spoils the batch: halve it until it is alone.
            middle = len(turns) // 2
            await self._store(turns[:middle])
            await self._store(turns[middle:])
            return
        for parsed in turns:
            if parsed.turn.session_id in unknown:
                await self._dead_letter(parsed.entry, "unknown_session", parsed.turn.session_id)
        self._count([parsed for parsed in turns if parsed.turn.session_id not in unknown], new)

    async def _until_stored(self, turns: Sequence[TurnFinished]) -> tuple[int, set[str]]:
        while True:
            try:
                return await self._archive.store(turns)
            except ArchiveUnavailable as error:
                # The batch stays unacknowledged: if this process dies now, another takes it over.
                log.warning("turns_not_stored", turns=len(turns), error=str(error))
                await asyncio.sleep(RETRY_DELAY_S)

    async def _parse(self, entry: Entry) -> Parsed | None:
        try:
            envelope = entry.envelope()
            turn = envelope.event()
        except (KeyError, ValueError) as fault:
            await self._dead_letter(entry, "malformed", repr(fault))
            return None
        if not isinstance(turn, TurnFinished):
            await self._dead_letter(entry, "unexpected_type", envelope.type)
            return None
        return Parsed(entry, turn, envelope.time)

    async def _dead_letter(self, entry: Entry, reason: str, detail: str) -> None:
        log.warning("turn_set_aside", reason=reason, entry_id=entry.id)
        metrics.dead_lettered(reason)
        await self._set_aside(entry, f"{reason}: {detail}")

    def _count(self, turns: Sequence[Parsed], new: int) -> None:
        metrics.turns_stored(new, len(turns) - new)
        now = self._now()
        for parsed in turns:
            metrics.turn_lagged(max(0.0, (now - parsed.published_at).total_seconds()))
            turn = parsed.turn
            log.debug("turn_stored", session_id=turn.session_id, seq=turn.seq, role=turn.role)
