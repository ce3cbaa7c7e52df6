"""How to see from outside that a process is ready."""

import asyncio
from collections.abc import Mapping

import httpx

from cli.process import Probe

PROBE_TIMEOUT_S = 2.0


def http_ready(url: str) -> Probe:
    """Ready once `url` answers 200."""

    async def probe(_: int) -> bool:
        return await _get(url) is not None

    return probe


def tcp_ready(port: int) -> Probe:
    """Ready once something listens on this port of the loopback interface."""

    async def probe(_: int) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def agent_registered(api_url: str, *, headers: Mapping[str, str] | None = None) -> Probe:
    """Ready once the registry, as the API shows it, has a registered worker with this process id."""

    async def probe(pid: int) -> bool:
        response = await _get(f"{api_url}/v1/workers", headers=headers)
        workers = response.json().get("workers", []) if response is not None else []
        return any(worker.get("pid") == pid and worker.get("registered", True) for worker in workers)

    return probe


async def _get(url: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response | None:
    try:
        # Plain HTTP on this machine: no proxy, and no certificates to load, which takes longer than the call.
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, verify=False) as client:  # noqa: S501
            response = await client.get(url, headers=headers)
    except httpx.HTTPError:
        return None
    return response if response.status_code == httpx.codes.OK else None
