"""The worker registry: the live agent workers, their names and their free slots.

LiveKit has no API that lists workers, so each of our workers writes a heartbeat that expires. A registry that
can't be read means "unknown", never "no worker": these functions raise, and their callers decide.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.contracts.causes import Cause
from shared.contracts.keys import WORKER_INDEX, last_beat_key, order_key, worker_key, worker_silent_key
from shared.contracts.workers import WorkerCircuit, WorkerHeartbeat, WorkerOrder
from shared.core.workers.circuit import Circuit, read_circuits
from shared.core.workers.orders import as_order
from shared.core.workers.track_record import circuit_of
from shared.platform.agent_names import agent_name_proven
from shared.platform.logs.logs import get_logger

HEARTBEAT_INTERVAL_S = 1.0
# Two heartbeats may be lost before a worker counts as gone.
HEARTBEAT_EXPIRY_S = 3.0
# LiveKit sets a worker's websocket no read deadline (livekit/livekit, pkg/service/agentservice.go).
# So it lists a host that vanished until TCP gives up: measured, 15 to 20 minutes.
LISTED_FOR_S = 20 * 60
# The threshold of difflib's ratio: one letter of three may be missing, or two of five swapped.
ALIKE = 0.75

log = get_logger(__name__)


async def write_heartbeat(redis: Redis, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
    """Publish one heartbeat, and return the newest order to this worker, if there is one.

    Raises `redis.exceptions.RedisError` or `OSError`.
    """
    beat = heartbeat.model_dump_json()
    async with redis.pipeline(transaction=False) as pipe:
        pipe.set(worker_key(heartbeat.worker_id), beat, px=int(HEARTBEAT_EXPIRY_S * 1000))
        pipe.set(last_beat_key(heartbeat.worker_id), beat, px=int(LISTED_FOR_S * 1000))
        pipe.zadd(WORKER_INDEX, {heartbeat.worker_id: heartbeat.beat_at.timestamp()})
        pipe.get(order_key(heartbeat.worker_id))
        return as_order((await pipe.execute())[-1])


async def remove_worker(redis: Redis, worker_id: str) -> None:
    """Remove a worker that has shut down."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.delete(worker_key(worker_id), last_beat_key(worker_id), order_key(worker_id))
        pipe.zrem(WORKER_INDEX, worker_id)
        await pipe.execute()


@dataclass(frozen=True)
class Fleet:
    """The live workers at one moment.

    `lost` are the last heartbeats of those that fell silent without a goodbye. LiveKit may still list them.
    `unresponsive` are the ids of workers that did not answer a dispatch a moment ago.
    """

    workers: list[WorkerHeartbeat] = field(default_factory=list)
    lost: list[WorkerHeartbeat] = field(default_factory=list)
    unresponsive: frozenset[str] = frozenset()

    def named(self, agent_name: str, pool: str | None = None) -> list[WorkerHeartbeat]:
        """Return the registered workers with exactly this agent name, of one pool or of all (None)."""
        return [
            worker
            for worker in self.workers
            if worker.agent_name == agent_name and worker.registered and pool in (None, worker.deployment)
        ]

    def pools(self, agent_name: str) -> list[str]:
        """Return the pools of the registered workers of this name, sorted; the unnamed pool is empty."""
        return sorted({worker.deployment for worker in self.named(agent_name)})

    def names(self) -> list[str]:
        """Return all agent names, sorted."""
        return sorted({w.agent_name for w in self.workers})

    def why_none(self, agent_name: str, pool: str | None = None) -> tuple[Cause, dict[str, Any]] | None:
        """Return why no worker of this name and pool would take a job now; None if one would."""
        workers = self.named(agent_name, pool)
        full = self.why_full(agent_name, pool)
        if full is not None:
            return full, _who_takes_none(workers)
        if workers:
            return None
        return self._why_nobody(agent_name, pool)

    def _why_nobody(self, agent_name: str, pool: str | None) -> tuple[Cause, dict[str, Any]]:
        """Why no worker of this name and pool is registered."""
        cause, evidence = self._who_else(agent_name, pool)
        lost = [
            worker.worker_id
            for worker in self.lost
            if worker.agent_name == agent_name and pool in (None, worker.deployment)
        ]
        if not lost:
            return cause, evidence
        return Cause.NO_WORKER_REGISTERED, {**evidence, "lost": lost}

    def _who_else(self, agent_name: str, pool: str | None) -> tuple[Cause, dict[str, Any]]:
        others = self.pools(agent_name)
        if others:
            return Cause.NO_WORKER_REGISTERED, {"agent_name": agent_name, "pool": pool, "pools_seen": others}
        names = self.names()
        if not names:
            return Cause.NO_WORKER_REGISTERED, {"agent_name": agent_name}
        if agent_name in names:
            # The name is right, but the worker is not registered at LiveKit yet, or no longer.
            ids = [worker.worker_id for worker in self.workers if worker.agent_name == agent_name]
            return Cause.NO_WORKER_REGISTERED, {"agent_name": agent_name, "not_connected": ids}
        evidence = {"agent_name": agent_name, "names_seen": names}
        nearest = nearest_name(agent_name, names)
        if nearest is None:
            # Workers of other names say nothing about a worker that doesn't report to us.
            return Cause.NO_WORKER_REGISTERED, evidence
        return Cause.AGENT_NAME_MISMATCH, {**evidence, "nearest": nearest}

    def why_full(self, agent_name: str, pool: str | None = None) -> Cause | None:
        """Return why none of these workers takes a job now; None if one does, or if there is none."""
        workers = self.named(agent_name, pool)
        if not workers or self.free_slots(agent_name, pool):
            return None
        leaving = all(worker.is_leaving for worker in workers)
        return Cause.WORKER_DRAINING if leaving else Cause.WORKERS_AT_CAPACITY

    def free_slots(self, agent_name: str, pool: str | None = None) -> int:
        """Return how many more jobs the workers of this name and pool would take now."""
        return sum(w.free_slots for w in self.named(agent_name, pool))

    def sessions(self, agent_name: str) -> set[str]:
        """Return the sessions whose jobs the workers of this name have accepted and not yet ended."""
        return {session for w in self.workers if w.agent_name == agent_name for session in w.sessions}


def _who_takes_none(workers: Sequence[WorkerHeartbeat]) -> dict[str, Any]:
    cordoned = [worker.worker_id for worker in workers if worker.cordoned]
    left_out = [worker.worker_id for worker in workers if worker.is_left_out]
    evidence = {"workers": [worker.worker_id for worker in workers]}
    special = {"cordoned": cordoned, "left_out": left_out}
    return evidence | {name: ids for name, ids in special.items() if ids}


def nearest_name(wanted: str, names: Sequence[str]) -> str | None:
    """Return the name that was most likely meant: equal except for case, spaces, hyphens or a few letters."""
    folded = {_folded(name): name for name in reversed(names)}
    alike = get_close_matches(_folded(wanted), list(folded), n=1, cutoff=ALIKE)
    return folded[alike[0]] if alike else None


def _folded(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name.casefold())


async def read_fleet(redis: Redis) -> Fleet:
    """Read all live workers, each with its circuit, and those that fell silent within the last 20 minutes.

    Raises `redis.exceptions.RedisError` or `OSError` if the registry can't be read.
    """
    ids = [str(worker_id) for worker_id in await redis.zrange(WORKER_INDEX, 0, -1)]
    if not ids:
        return Fleet()
    found = await redis.mget([*map(worker_key, ids), *map(worker_silent_key, ids)])
    values, silences = found[: len(ids)], found[len(ids) :]
    workers = _heartbeats(values)
    for worker in workers:
        agent_name_proven(worker.agent_name)
    circuits = await read_circuits(redis, [circuit_of(worker.worker_id) for worker in workers])
    silent = [worker_id for worker_id, value in zip(ids, values, strict=True) if value is None]
    return Fleet(
        workers=with_circuits(workers, circuits),
        lost=await _read_lost(redis, silent) if silent else [],
        unresponsive=frozenset(worker_id for worker_id, value in zip(ids, silences, strict=True) if value),
    )


async def _read_lost(redis: Redis, silent: Sequence[str]) -> list[WorkerHeartbeat]:
    values = await redis.mget([last_beat_key(worker_id) for worker_id in silent])
    forgotten = [worker_id for worker_id, value in zip(silent, values, strict=True) if value is None]
    if forgotten:
        await redis.zrem(WORKER_INDEX, *forgotten)
    return _heartbeats(values)


def _heartbeats(values: Sequence[Any]) -> list[WorkerHeartbeat]:
    """The heartbeats that there are and that can be read, by worker."""
    found = []
    for value in filter(None, values):
        try:
            found.append(WorkerHeartbeat.model_validate_json(str(value)))
        except ValidationError as invalid:
            log.warning("heartbeat_unreadable", error=str(invalid))
    return sorted(found, key=lambda worker: worker.worker_id)


def with_circuits(
    workers: Sequence[WorkerHeartbeat], circuits: Sequence[Circuit | None]
) -> list[WorkerHeartbeat]:
    """Return the workers, each with its circuit.

    A circuit is ignored where no worker of the same agent name and deployment is without one: a bad worker is
    better than none.
    """
    well: dict[tuple[str, str], bool] = defaultdict(bool)
    for worker, circuit in zip(workers, circuits, strict=True):
        serves = worker.registered and not worker.is_leaving
        well[worker.agent_name, worker.deployment] |= serves and circuit is None
    return [
        worker.model_copy(
            update={
                "circuit": circuit
                and WorkerCircuit(
                    state=circuit.state,
                    reason=circuit.reason,
                    ignored=not well[worker.agent_name, worker.deployment],
                )
            }
        )
        for worker, circuit in zip(workers, circuits, strict=True)
    ]
