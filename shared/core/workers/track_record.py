"""What came of the dispatches that a worker got, and whether new sessions are kept from it.

The verifier records each result. A worker whose newest dispatches all came to nothing is left out: its
circuit opens (circuit.py). `read_fleet` adds the circuit to the worker's heartbeat, so everything that counts
free slots knows it.

Every function raises `redis.exceptions.RedisError` or `OSError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.asyncio import Redis

from shared.contracts.keys import worker_record_key, worker_silent_key
from shared.core.workers.circuit import Pauses, begin_trial, close_circuit, open_circuit

# So many results in a row without an agent open the circuit.
MOST_FAILURES: Final = 3
# The sentence about a worker's past counts so many of its dispatches.
REMEMBERED: Final = 5
RECORD_S: Final = 3600
PAUSES: Final = Pauses(first_s=10.0, longest_s=120.0)
# For so long after a dispatch that it did not answer, other workers go before it. By then its heartbeat has
# expired, or its circuit is open, or it was an exception.
SILENT_S: Final = 10.0
# An attempt is over by then, or its worker has taken the job.
TRIAL_S: Final = 15.0


class Result(StrEnum):
    """What came of a dispatch to a worker."""

    JOINED = "joined"
    TAKEN = "taken"  # the worker took the job, and no agent joined
    SILENT = "silent"  # the worker did not answer


@dataclass(frozen=True)
class Record:
    """The results of a worker's newest dispatches, the newest first."""

    results: Sequence[Result] = ()

    @property
    def is_failing(self) -> bool:
        """Whether the newest results are all failures, and enough of them."""
        newest = self.results[:MOST_FAILURES]
        return len(newest) == MOST_FAILURES and Result.JOINED not in newest

    def __str__(self) -> str:
        """Say it as the evidence of a cause does."""
        if not self.results:
            return "no dispatch was sent to it before"
        total, joined = len(self.results), self.results.count(Result.JOINED)
        taken = total - self.results.count(Result.SILENT)
        dispatches = "dispatch" if total == 1 else "dispatches"
        return f"took {taken} of the last {total} {dispatches} and joined {joined or 'none'}"


@dataclass(frozen=True)
class Late:
    """An answer to a dispatch that was given up. `taken_back`: the worker was left out until now."""

    taken_back: bool


def circuit_of(worker_id: str) -> str:
    """Return the name of a worker's circuit."""
    return f"worker:{worker_id}"


async def read_record(redis: Redis, worker_id: str) -> Record:
    """Return the results of the worker's newest dispatches."""
    return _record(await redis.lrange(worker_record_key(worker_id), 0, -1))


async def note_failed(redis: Redis, worker_id: str, result: Result, *, dispatch: str) -> str | None:
    """Record a dispatch that brought no agent; return why the worker is left out if that is new.

    dispatch: names the attempt, for `note_answered`.
    """
    if result is Result.SILENT:
        await redis.set(worker_silent_key(worker_id), dispatch, px=int(SILENT_S * 1000))
    record = await _push(redis, worker_id, f"{result} {dispatch}")
    if not record.is_failing:
        return None
    reason = str(record)
    return reason if await open_circuit(redis, circuit_of(worker_id), reason, PAUSES) else None


async def note_joined(redis: Redis, worker_id: str) -> bool:
    """Record a dispatch whose agent joined; return whether the worker was left out until now."""
    await _push(redis, worker_id, Result.JOINED)
    return await close_circuit(redis, circuit_of(worker_id))


async def note_answered(redis: Redis, worker_id: str, *, dispatch: str) -> Late | None:
    """Take back a `SILENT` result, if there is one: the worker has answered after all, and was slow."""
    key = worker_record_key(worker_id)
    if not await redis.lrem(key, 1, f"{Result.SILENT} {dispatch}"):
        return None
    if (await read_record(redis, worker_id)).is_failing:
        return Late(taken_back=False)
    return Late(taken_back=await close_circuit(redis, circuit_of(worker_id)))


async def try_again(redis: Redis, worker_id: str) -> None:
    """Keep further sessions from a worker that one session tries now."""
    await begin_trial(redis, circuit_of(worker_id), lasts_s=TRIAL_S)


async def _push(redis: Redis, worker_id: str, entry: str) -> Record:
    key = worker_record_key(worker_id)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.lpush(key, entry)
        pipe.ltrim(key, 0, REMEMBERED - 1)
        pipe.expire(key, RECORD_S)
        pipe.lrange(key, 0, -1)
        return _record((await pipe.execute())[-1])


def _record(entries: Sequence[str | bytes]) -> Record:
    return Record([Result(str(entry).partition(" ")[0]) for entry in entries])
