"""From the request to the agent's ACTIVE: Rollcall over the bare calls, with the same worker.

Bare is what an application does that trusts LiveKit: CreateDispatch, then ListParticipants as fast as the
server answers. Rollcall is POST /v1/sessions until its verifier has seen the agent; and, the stricter
reading, until the client that follows the session's events has been told. The two kinds take turns, so that
whatever else the machine does meets both.
"""

import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from livekit import api
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from cli.stack import Stack

AIM_RATIO = 1.10
AIM_CALLS = 8
POLL_S = 0.005
TIMEOUT_S = 30
WARM_UP_ROUNDS = 2


@dataclass
class Samples:
    """Seconds, one for each round."""

    bare: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)


async def bench_join(stack: Stack, *, rounds: int) -> None:
    """Measure and print; an agent worker must be registered."""
    samples = Samples()
    async with (
        api.LiveKitAPI(stack.livekit_url, stack.livekit_api_key, stack.livekit_api_secret) as livekit,
        httpx.AsyncClient(base_url=stack.api_url, timeout=TIMEOUT_S) as http,
    ):
        for number in range(-WARM_UP_ROUNDS, rounds):
            await _idle(http)
            bare = await _bare(livekit)
            await _idle(http)
            before = await _livekit_calls(stack, http)
            seen, told, session_id = await _rollcall(http)
            after = await _livekit_calls(stack, http)
            await http.delete(f"/v1/sessions/{session_id}")
            if number >= 0:
                samples.bare.append(bare)
                samples.seen.append(seen)
                samples.told.append(told)
                samples.calls.append(after - before)
                print(
                    f"round {number + 1}/{rounds}: bare {bare * 1e3:.0f} ms, "
                    f"rollcall {seen * 1e3:.0f} ms (client told after {told * 1e3:.0f} ms)",
                    flush=True,
                )
    _print(samples)


async def _bare(livekit: api.LiveKitAPI) -> float:
    room = f"bare-{uuid.uuid4().hex}"
    started = time.perf_counter()
    await livekit.agent_dispatch.create_dispatch(
        api.CreateAgentDispatchRequest(agent_name="agent", room=room)
    )
    async with asyncio.timeout(TIMEOUT_S):
        while not await _active_agent(livekit, room):
            await asyncio.sleep(POLL_S)
    taken = time.perf_counter() - started
    await livekit.room.delete_room(api.DeleteRoomRequest(room=room))
    return taken


async def _active_agent(livekit: api.LiveKitAPI, room: str) -> bool:
    found = await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
    info = api.ParticipantInfo
    return any(p.kind == info.Kind.AGENT and p.state == info.State.ACTIVE for p in found.participants)


async def _rollcall(http: httpx.AsyncClient) -> tuple[float, float, str]:
    """Return the seconds until the agent was seen, until the client was told, and the session's id."""
    started, at = time.perf_counter(), datetime.now(UTC)
    session_id = (await http.post("/v1/sessions")).json()["session_id"]
    events = http.stream("GET", f"/v1/sessions/{session_id}/events", headers={"Accept": "text/event-stream"})
    async with asyncio.timeout(TIMEOUT_S), events as response:
        async for line in response.aiter_lines():
            if line == "event: agent.joined.v1":
                break
    told = time.perf_counter() - started
    session = (await http.get(f"/v1/sessions/{session_id}")).json()
    seen = (datetime.fromisoformat(session["timings"]["active_at"]) - at).total_seconds()
    return seen, told, session_id


async def _idle(http: httpx.AsyncClient) -> None:
    """Wait until the worker has ended its last job and this machine has caught its breath."""
    async with asyncio.timeout(60):
        while True:
            workers = (await http.get("/v1/workers")).json()["workers"]
            if workers and all(worker["active_jobs"] == 0 for worker in workers):
                break
            await asyncio.sleep(0.2)
    # The worker makes a new warm process after each job, which keeps a core busy for a moment.
    await asyncio.sleep(2)


async def _livekit_calls(stack: Stack, http: httpx.AsyncClient) -> float:
    total = 0.0
    for name in ("dispatcher", "verifier"):
        port = stack.process(name).spec.env["PROBE_PORT"]
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        for family in text_string_to_metric_families(text):
            if family.name == "livekit_api_calls":
                total += sum(s.value for s in family.samples if s.name == "livekit_api_calls_total")
    return total


def _print(samples: Samples) -> None:
    table = Table(title=f"request to ACTIVE, N = 1, {len(samples.bare)} rounds", title_justify="left")
    for column in ("", "min", "p50", "p95", "max", "p50 / bare"):
        table.add_column(column, justify="right" if column else "left")
    base = statistics.median(samples.bare)
    for name, values in (
        ("bare calls", samples.bare),
        ("rollcall: agent seen", samples.seen),
        ("rollcall: client told", samples.told),
    ):
        p95 = statistics.quantiles(values, n=20)[-1]
        figures = (min(values), statistics.median(values), p95, max(values))
        ratio = statistics.median(values) / base
        table.add_row(name, *(f"{value * 1e3:.0f} ms" for value in figures), f"{ratio:.2f}")
    console = Console()
    console.print(table)
    calls = statistics.mean(samples.calls)
    ratio = statistics.median(samples.seen) / base
    console.print(f"ratio {ratio:.2f} (aim at most {AIM_RATIO:.2f})", highlight=False)
    console.print(
        f"LiveKit API calls per join, webhooks off: {calls:.1f} (aim at most {AIM_CALLS})", highlight=False
    )
