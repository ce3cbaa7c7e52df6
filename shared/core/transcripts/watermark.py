"""The watermark: which turns of a session the database has, so that an agent worker may delete them.

The transcript consumer publishes it after each commit; a worker keeps a turn in its spool until then. It is a
bitmap by sequence number for each writer of a session, so that the turns of an agent that takes over are not
confused with the unsent turns of the dead one. Turns count from 1; bit 0 says that the writer's own count of
its turns is recorded. The database is the truth: if a bitmap is lost, the worker sends its turns again, and
the consumer finds them already stored. A turn that was set aside for good counts as stored: it is among the
dead letters, and sending it again would only add another letter.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from shared.contracts.events import AgentReported, TurnFinished
from shared.contracts.keys import stored_key
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

STORED_TTL = timedelta(days=1)
# This limits a bitmap to 125 kB. A call has a few turns a minute.
MAX_SEQ = 1_000_000
# The bit for the count; no turn has this number.
COUNT = 0


class StoredTurns:
    """The turns of one writer that are certainly stored; about others nothing is known.

    `bitmap` is as Redis stores it.
    """

    def __init__(self, bitmap: bytes) -> None:
        self.bitmap = bitmap

    def has(self, seq: int) -> bool:
        """Return whether the turn with this sequence number is committed."""
        byte, bit = divmod(seq, 8)
        return 0 <= byte < len(self.bitmap) and bool(self.bitmap[byte] & (0x80 >> bit))

    @property
    def is_counted(self) -> bool:
        """Whether the number of turns is recorded."""
        return self.has(COUNT)


async def publish_stored(redis: Redis, turns: Iterable[TurnFinished]) -> None:
    """Publish that these turns are committed.

    Raises `RedisError` or `OSError`; some may then be published.
    """
    seqs: dict[str, set[int]] = {}
    for turn in turns:
        seqs.setdefault(stored_key(turn.session_id, _writer(turn.job_id, turn.attempt)), set()).add(turn.seq)
    await _set_bits(redis, seqs)


async def publish_counted(redis: Redis, reports: Iterable[AgentReported]) -> None:
    """Publish that the counts in these reports are recorded; raises like `publish_stored`."""
    writers = {stored_key(report.session_id, _writer(report.job_id, report.attempt)) for report in reports}
    await _set_bits(redis, {key: {COUNT} for key in writers})


async def _set_bits(redis: Redis, seqs: Mapping[str, set[int]]) -> None:
    if not seqs:
        return
    async with redis.pipeline(transaction=False) as pipe:
        for key, stored in seqs.items():
            sets = [word for seq in sorted(stored) for word in ("SET", "u1", seq, 1)]
            pipe.execute_command("BITFIELD", key, *sets)
            pipe.expire(key, STORED_TTL)
        replies = await pipe.execute(raise_on_error=False)
    refusals = [reply for reply in replies if isinstance(reply, Exception)]
    for refusal in refusals:
        if not isinstance(refusal, ResponseError):
            raise refusal
    if refusals:
        # One bad key must not hold up the stream: the worker that waits for this key sends its turns again.
        log.warning("watermark_refused", refused=len(refusals), error=repr(refusals[0]))


async def read_stored(redis: Redis, session_id: str, *, job_id: str | None, attempt: int) -> StoredTurns:
    """Return which of this job's turns are stored; raises `RedisError` or `OSError`."""
    key = stored_key(session_id, _writer(job_id, attempt))
    # The client would decode the value as text, which a bitmap is not.
    client: Any = redis
    bitmap: bytes | None = await client.execute_command("GET", key, **{NEVER_DECODE: []})
    return StoredTurns(bitmap or b"")


def _writer(job_id: str | None, attempt: int) -> str:
    return job_id or f"attempt-{attempt}"
