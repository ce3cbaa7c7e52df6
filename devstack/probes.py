"""Probes that see from outside whether a process is ready."""

import asyncio

import httpx

from devstack.process import Probe

PROBE_TIMEOUT_S = 2.0


def http_ready(url: str) -> Probe:
    """Return a probe that is ready once `url` answers 200."""

    async def probe(_: int) -> bool:
        return await _get(url) is not None

    return probe


def tcp_ready(port: int) -> Probe:
    """Return a probe that is ready once a process listens on this port of the loopback interface."""

    async def probe(_: int) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def agent_registered(redis_url: str) -> Probe:
    """Return a probe that is ready once the registry has a registered worker with this process id."""
    # Imported late: a stack without an agent, and every test that only could start one, does without it.
    from shared.core.workers.registry import read_fleet
    from shared.platform.redis.client import connect_redis
    from shared.platform.redis.streams import UNREACHABLE

    async def probe(pid: int) -> bool:
        redis = connect_redis(redis_url, timeout_s=PROBE_TIMEOUT_S)
        try:
            fleet = await read_fleet(redis)
        except UNREACHABLE:
            return False
        finally:
            await redis.aclose()
        return any(worker.pid == pid and worker.registered for worker in fleet.workers)

    return probe


async def _get(url: str) -> httpx.Response | None:
    try:
        # Plain HTTP on this machine: no proxy, and no certificates, whose loading takes longer than the call.
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, verify=False) as client:  # noqa: S501
            response = await client.get(url)
    except httpx.HTTPError:
        return None
    return response if response.status_code == httpx.codes.OK else None
