"""Find out whether this LiveKit server delivers dispatches that are addressed to one worker.

LiveKit 1.13.5 does. LiveKit 1.9.11 ignores the address, so the worker that gets the job tells it
(`misplaced`). Another server may drop such a dispatch: then a worker answers no addressed dispatch, and takes
the next one by name. Either opens a circuit (circuit.py): dispatches go by name. After a pause one session
tries again.

Every function raises `redis.exceptions.RedisError` or `OSError`.
"""

from typing import Final

from redis.asyncio import Redis

from shared.contracts.keys import PLACEMENT_BY_NAME, PLACEMENT_LOST, PLACEMENT_PROVEN
from shared.contracts.workers import CircuitState
from shared.core.workers.circuit import Pauses, begin_trial, close_circuit, open_circuit, read_circuits

CIRCUIT: Final = "placement"
PAUSES: Final = Pauses(first_s=60.0, longest_s=3600.0)
TRIAL_S: Final = 15.0
PROVEN_S: Final = 86_400
SUSPECTED_S: Final = 3600
# Once may be the worker's fault: it was cut off, and came back.
MOST_IN_VAIN: Final = 2

IGNORED: Final = "LiveKit gives dispatches that are addressed to one worker to any worker of the name"
DROPPED: Final = "dispatches that are addressed to one worker do not arrive, and those by name do"


async def may_place(redis: Redis, *, last_chance: bool) -> bool:
    """Return whether a dispatch may be addressed to one worker.

    last_chance: the session has no other attempt after this one, so only a proven way will do.
    """
    [circuit] = await read_circuits(redis, [CIRCUIT])
    if circuit is None:
        return not last_chance or bool(await redis.exists(PLACEMENT_PROVEN))
    if circuit.state is CircuitState.OPEN or last_chance:
        return False
    return await begin_trial(redis, CIRCUIT, lasts_s=TRIAL_S)


async def note_arrived(redis: Redis) -> bool:
    """Record that an addressed dispatch reached its worker; return whether dispatches went by name."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.set(PLACEMENT_PROVEN, "1", ex=PROVEN_S)
        pipe.delete(PLACEMENT_LOST, PLACEMENT_BY_NAME)
        await pipe.execute()
    return await close_circuit(redis, CIRCUIT)


async def note_ignored(redis: Redis) -> str | None:
    """Record that LiveKit gave an addressed job to another registration; return why to go by name, if new."""
    return await _give_up(redis, IGNORED)


async def note_lost(redis: Redis, worker_id: str) -> None:
    """Record that a worker did not answer an addressed dispatch."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.sadd(PLACEMENT_LOST, worker_id)
        pipe.expire(PLACEMENT_LOST, SUSPECTED_S)
        await pipe.execute()
    [circuit] = await read_circuits(redis, [CIRCUIT])
    if circuit is not None:
        await open_circuit(redis, CIRCUIT, circuit.reason, PAUSES)  # the trial was in vain


async def note_by_name(redis: Redis, worker_id: str) -> str | None:
    """Record that a worker took a dispatch by name; return why to go by name, if that is new.

    It proves something only if this worker did not answer an addressed one, and none has arrived since.
    """
    if not await redis.srem(PLACEMENT_LOST, worker_id):
        return None
    async with redis.pipeline(transaction=True) as pipe:
        pipe.incr(PLACEMENT_BY_NAME)
        pipe.expire(PLACEMENT_BY_NAME, SUSPECTED_S)
        in_vain, _ = await pipe.execute()
    return await _give_up(redis, DROPPED) if int(in_vain) >= MOST_IN_VAIN else None


async def _give_up(redis: Redis, reason: str) -> str | None:
    await redis.delete(PLACEMENT_PROVEN, PLACEMENT_BY_NAME)
    return reason if await open_circuit(redis, CIRCUIT, reason, PAUSES) else None
