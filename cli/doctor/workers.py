"""Check the agent workers: whether one is registered under the agent name of sessions."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from redis.exceptions import RedisError

from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.doctor.redis import TIMEOUT_S
from cli.doctor.surroundings import Surroundings
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.settings import AgentNameSettings, RedisSettings
from shared.contracts.workers import WorkerHeartbeat
from shared.core.workers.registry import Fleet, read_fleet
from shared.platform.redis.client import connect_redis

NAME: Final = "workers"
# These faults pass by themselves.
_PASSING: Final = (Cause.WORKERS_AT_CAPACITY, Cause.WORKER_DRAINING)


async def fleet_of(surroundings: Surroundings) -> Fleet:
    """Read the registry; raises `RedisError`, `OSError` or `ValueError`."""
    redis = connect_redis(surroundings.settings(RedisSettings).redis_url, timeout_s=TIMEOUT_S)
    try:
        return await read_fleet(redis)
    finally:
        await redis.aclose()


async def check_workers(surroundings: Surroundings) -> Sequence[Finding]:
    """Check the registry as the dispatcher reads it."""
    try:
        name = surroundings.settings(AgentNameSettings).livekit_agent_name
    except ValidationError:
        return [skipped(NAME, "LIVEKIT_AGENT_NAME is malformed")]
    try:
        fleet = await fleet_of(surroundings)
    except (RedisError, OSError, ValueError):
        return [skipped(NAME, "the registry is in Redis, which can't be read")]
    if (why := fleet.why_none(name)) is not None:
        return [_none(name, *why)]
    workers = fleet.named(name)
    slots = sum(worker.max_jobs for worker in workers)
    evidence = f"{len(workers)} named {name}, {fleet.free_slots(name)} of {slots} slots free"
    return [passed(NAME, evidence), *_faults(workers), *_elsewhere(surroundings, workers)]


def _none(name: str, cause: Cause, evidence: dict[str, object]) -> Finding:
    if cause in _PASSING:
        return warned(NAME, f"{cause}: the workers named {name} take no more calls now", ADVICE[cause])
    if cause is Cause.AGENT_NAME_MISMATCH:
        said = f"none is named {name}; there is {evidence['names_seen']}"
    elif "not_connected" in evidence:
        said = f"{evidence['not_connected']} runs, but is not registered at LiveKit"
    else:
        said = f"none is registered (wanted: {name})"
    return failed(NAME, f"{cause}: {said}", ADVICE[cause])


def _faults(workers: Sequence[WorkerHeartbeat]) -> list[Finding]:
    return [
        failed(
            NAME, f"{worker.worker_id} on {worker.host}: {fault.cause}: {fault.detail}", ADVICE[fault.cause]
        )
        for worker in workers
        for fault in worker.faults
    ]


def _elsewhere(surroundings: Surroundings, workers: Sequence[WorkerHeartbeat]) -> list[Finding]:
    ours = urlsplit(surroundings.env.get("LIVEKIT_URL", "")).hostname
    return [
        warned(
            NAME,
            f"{worker.worker_id} on {worker.host} is registered at {worker.livekit_url}",
            "LIVEKIT_URL names another host here: dispatches may go to another LiveKit",
        )
        for worker in workers
        if ours and urlsplit(worker.livekit_url).hostname != ours
    ]
