"""Redis streams that carry CloudEvents envelopes: publish, and read as a consumer group.

It uses only commands of Redis 7.0. A group begins at the stream's beginning, so it skips no entry that was
published before its first consumer started. An entry is acknowledged only after its handler has returned.
Entries that every group has acknowledged are trimmed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.contracts.events import Envelope
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD
from shared.contracts.text import MAX_BRIEF_BYTES, clean, cut
from shared.platform.logs.logs import get_logger
from shared.platform.redis import stream_upkeep

log = get_logger(__name__)

UNREACHABLE = (RedisError, OSError)

# If a consumer holds an entry for longer, another consumer of the group takes it over.
CLAIM_IDLE_MS = 15_000
CLAIM_INTERVAL_S = 5.0
MOST_GIVEN_BACK = 10_000
READ_COUNT = 200
READ_BLOCK_MS = 1_000
# The target size of a batch, whatever the size of its entries.
READ_BYTES = 4_000_000
FIRST_READ_COUNT = 25
RECONNECT_DELAY_S = 0.5
# A last resort against full memory: it also removes entries that no consumer has read. Consumers trim handled
# entries long before.
STREAM_MAX_LENGTH = 1_000_000


async def publish(redis: Redis, stream: str, envelopes: Iterable[Envelope]) -> None:
    """Append envelopes in order. Raises `RedisError` or `OSError`; some may then already be in the stream."""
    async with redis.pipeline(transaction=False) as pipe:
        for envelope in envelopes:
            pipe.xadd(
                stream,
                {ENVELOPE_FIELD: envelope.model_dump_json(exclude_none=True)},
                maxlen=STREAM_MAX_LENGTH,
                approximate=True,
            )
        await pipe.execute()


async def dead_letter(redis: Redis, stream: str, entry: "Entry", reason: str) -> None:
    """Set an entry aside as a dead letter, with the reason and its origin."""
    # Our fields last: the entry must not override its origin.
    said = cut(clean(reason), MAX_BRIEF_BYTES)
    fields: Any = {**entry.fields, "stream": stream, "entry_id": entry.id, "reason": said}
    await redis.xadd(
        DEAD_LETTERS_STREAM,
        fields,
        maxlen=STREAM_MAX_LENGTH,
        approximate=True,
    )


@dataclass(frozen=True)
class Entry:
    """One entry of a stream; `fields` as they were written."""

    id: str
    fields: dict[str, str]

    def envelope(self) -> Envelope:
        """Return the parsed envelope; raises `KeyError` or `pydantic.ValidationError`."""
        return Envelope.parse(self.fields[ENVELOPE_FIELD])

    @property
    def size(self) -> int:
        """The length of the entry in characters."""
        return sum(len(name) + len(value) for name, value in self.fields.items())


class Appetite:
    """How many entries to read at once: more while many wait, fewer when they are large."""

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self.count = min(FIRST_READ_COUNT, max_count)

    def learn(self, batch: Sequence[Entry]) -> None:
        """Adapt to the last batch."""
        if not batch:
            return
        # Only a full batch raises the number: otherwise an idle consumer would read many large entries at
        # once.
        wanted = 2 * self.count if len(batch) >= self.count else max(FIRST_READ_COUNT, self.count // 2)
        fitting = self._max_bytes * len(batch) // max(1, sum(entry.size for entry in batch))
        self.count = max(1, min(wanted, fitting, self._max_count))


class ConsumerGroup:
    """One consumer of a group. Iterate over `batches()`, handle each batch, then `acknowledge` it.

    The next batch may be requested while the previous one is still being handled.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        stream: str,
        group: str,
        consumer: str,
        max_count: int = READ_COUNT,
        max_bytes: int = READ_BYTES,
    ) -> None:
        self._redis = redis
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._appetite = Appetite(max_count=max_count, max_bytes=max_bytes)
        # Where to continue in the entries that this consumer has not acknowledged; None if none are left.
        self._own_backlog: str | None = "0"
        self._claim_from = "0-0"
        self._next_upkeep = 0.0

    async def batches(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield batches forever. While the server is down, wait for it.

        First come entries that this consumer left unacknowledged, then entries that others held for too long,
        then new entries.
        """
        self.read_again()
        await self._until_created()
        while True:
            try:
                batch = await self._next()
            except UNREACHABLE as error:
                if "NOGROUP" in str(error):
                    log.warning("stream_group_recreated", stream=self._stream, group=self._group)
                    stream_upkeep.recreated(self._stream, self._group)
                    await self._until_created()
                    continue
                log.warning("stream_unreachable", stream=self._stream, error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_S)
                self.read_again()
                continue
            if batch:
                yield batch

    def read_again(self) -> None:
        """Begin again with the entries that this consumer has not acknowledged.

        Some may be in the current batch.
        """
        self._own_backlog = "0"

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Mark entries as handled. If this fails, they are only delivered again."""
        ids = [entry.id for entry in entries]
        try:
            if ids:
                await self._redis.xack(self._stream, self._group, *ids)
        except UNREACHABLE as error:
            log.warning("acknowledgement_lost", stream=self._stream, error=repr(error))

    async def give_back(self) -> None:
        """Let other consumers take unacknowledged entries at once; call it before the process stops."""
        mine = (self._stream, self._group, self._consumer)
        try:
            left: Any = await self._redis.xpending_range(
                self._stream, self._group, "-", "+", MOST_GIVEN_BACK, consumername=self._consumer
            )
            if ids := [one["message_id"] for one in left]:
                await self._redis.xclaim(*mine, 0, ids, idle=CLAIM_IDLE_MS, justid=True)
        except UNREACHABLE as error:
            log.warning("stream_entries_not_given_back", stream=self._stream, error=repr(error))

    async def _next(self) -> list[Entry]:
        if self._own_backlog is not None:
            read = await self._read(self._own_backlog)
            self._own_backlog = read[-1].id if read else None
            return await self._still_there(read)
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_upkeep:
            return await self._read(">")
        batch = await self._take_over()
        if self._claim_from == "0-0":  # one full pass
            await self._look_after()
            self._next_upkeep = loop.time() + CLAIM_INTERVAL_S
        return batch or await self._read(">")

    async def _read(self, start: str) -> list[Entry]:
        reply: Any = await self._redis.xreadgroup(
            self._group,
            self._consumer,
            {self._stream: start},
            count=self._appetite.count,
            block=READ_BLOCK_MS if start == ">" else None,
        )
        if not reply:
            return []
        [(_, pairs)] = reply
        batch = [Entry(entry_id, fields or {}) for entry_id, fields in pairs]
        self._appetite.learn(batch)
        return batch

    async def _take_over(self) -> list[Entry]:
        reply: Any = await self._redis.xautoclaim(
            self._stream,
            self._group,
            self._consumer,
            CLAIM_IDLE_MS,
            start_id=self._claim_from,
            count=self._appetite.count,
        )
        self._claim_from, pairs, gone = reply
        self._lost([str(entry_id) for entry_id in gone])
        return [Entry(entry_id, fields or {}) for entry_id, fields in pairs]

    async def _still_there(self, batch: list[Entry]) -> list[Entry]:
        # An entry that was trimmed while it was pending has no fields any more.
        gone = [entry for entry in batch if not entry.fields]
        if gone:
            self._lost([entry.id for entry in gone])
            await self.acknowledge(gone)
        return [entry for entry in batch if entry.fields]

    def _lost(self, ids: list[str]) -> None:
        if ids:
            stream_upkeep.lost_pending(self._stream, self._group, len(ids))
            log.error("stream_entries_lost", stream=self._stream, entries=len(ids), first=ids[0])

    async def _look_after(self) -> None:
        try:
            state = await stream_upkeep.look_after(self._redis, self._stream, self._group)
        except ResponseError as error:
            # A server that forbids or lacks one of these commands must not stop the reading.
            log.warning("stream_not_looked_after", stream=self._stream, error=repr(error))
            return
        if state is not None and state.lost_unread:
            log.error("stream_entries_lost_unread", stream=self._stream, entries=state.lost_unread)

    async def _until_created(self) -> None:
        while True:
            try:
                await self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" in str(error):
                    return
                log.warning("stream_refused", stream=self._stream, error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_S)
            except UNREACHABLE as error:
                log.warning("stream_unreachable", stream=self._stream, error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_S)
            else:
                return
