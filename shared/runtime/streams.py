"""Redis streams that carry CloudEvents envelopes: publish, and read as a consumer group.

Only commands of Redis 7.0. A group is created at the stream's beginning, so nothing published before
the first consumer starts is skipped; an entry is acknowledged only after its handler has returned.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.contracts.events import Envelope
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD
from shared.runtime.logs import get_logger

log = get_logger(__name__)

UNREACHABLE = (RedisError, OSError)

# An entry that its consumer holds for longer is taken over by another consumer of the group.
CLAIM_IDLE_MS = 15_000
CLAIM_INTERVAL_S = 5.0
READ_COUNT = 200
READ_BLOCK_MS = 1_000
RECONNECT_DELAY_S = 0.5
# A brake against filling the memory, far above what the consumers leave behind.
STREAM_MAX_LENGTH = 1_000_000


async def publish(redis: Redis, stream: str, envelopes: Iterable[Envelope]) -> None:
    """Append envelopes in order; raises `RedisError` or `OSError`, and then some may be in already."""
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
    """Set an entry aside, with the reason and where it came from."""
    fields: Any = {"stream": stream, "entry_id": entry.id, "reason": reason, **entry.fields}
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
        """Parse the envelope; raises `KeyError` or `pydantic.ValidationError`."""
        return Envelope.model_validate_json(self.fields[ENVELOPE_FIELD])


class ConsumerGroup:
    """One consumer of a group. Iterate over `batches()`, handle each, then `acknowledge` it."""

    def __init__(self, redis: Redis, *, stream: str, group: str, consumer: str) -> None:
        self._redis = redis
        self._stream = stream
        self._group = group
        self._consumer = consumer

    async def batches(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield batches for ever: first what this consumer left unacknowledged, then what others
        left for too long, then new entries. Waits out a server that is away.
        """
        loop = asyncio.get_running_loop()
        next_claim = 0.0
        await self._until_created()
        own_backlog = True
        while True:
            try:
                if own_backlog:
                    batch = await self._read("0")
                    own_backlog = bool(batch)
                elif loop.time() >= next_claim:
                    batch = await self._take_over()
                    next_claim = loop.time() + (0 if batch else CLAIM_INTERVAL_S)
                else:
                    batch = await self._read(">")
            except UNREACHABLE as error:
                if "NOGROUP" in str(error):
                    log.warning("stream_group_recreated", stream=self._stream, group=self._group)
                    await self._until_created()
                    continue
                log.warning("stream_unreachable", stream=self._stream, error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_S)
                own_backlog = True
                continue
            if batch:
                yield batch

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Mark entries as handled. A failure only means that they come again."""
        ids = [entry.id for entry in entries]
        try:
            if ids:
                await self._redis.xack(self._stream, self._group, *ids)
        except UNREACHABLE as error:
            log.warning("acknowledgement_lost", stream=self._stream, error=repr(error))

    async def _read(self, start: str) -> list[Entry]:
        reply: Any = await self._redis.xreadgroup(
            self._group,
            self._consumer,
            {self._stream: start},
            count=READ_COUNT,
            block=READ_BLOCK_MS if start == ">" else None,
        )
        if not reply:
            return []
        [(_, pairs)] = reply
        # An entry trimmed away while it was pending has no fields any more.
        return [Entry(entry_id, fields or {}) for entry_id, fields in pairs]

    async def _take_over(self) -> list[Entry]:
        reply: Any = await self._redis.xautoclaim(
            self._stream, self._group, self._consumer, CLAIM_IDLE_MS, count=READ_COUNT
        )
        return [Entry(entry_id, fields or {}) for entry_id, fields in reply[1]]

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
