"""How many sessions a second the pipeline proves, compared with a bare loop of the same LiveKit calls.

A fixed number of sessions is in flight, for each side in turn. The number grows, and the best rate of each
side counts. Ours is POST /v1/sessions until the verifier has seen the agent, then DELETE. Bare is one asyncio
loop: CreateRoom with its agent, ListDispatch, ListParticipants until ACTIVE, then DeleteRoom. It stores
nothing, retries nothing, and finds no cause. Both use the same light joiner, and all share the machine's
cores. So the benchmark also compares the CPU seconds of all processes together.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from bench.client import FINAL, Bare, Client, new_room, open_bare, open_client
from bench.joiners import Joiners, running_joiners
from bench.options import BenchFailed, Options, Results, at_least, console, fact, say
from bench.stacks import PIPELINE, bare_stack, bench_stack, until_idle
from bench.usage import Usage, cpu_between, usage
from devstack.stack import Stack
from shared.platform.background import stop_all

AIM = 0.5
SLOTS = 500
AGENT_NAME = "light"
WARM_UP_S = 3.0
TIMEOUT_S = 60.0
# How often the bare loop looks at a room; the verifier's first look comes after the same time.
POLL_S = 0.25
MEASURED = ("dispatcher", "verifier")

One = Callable[[], Awaitable[None]]
"""Brings one session to its proof and ends it; raises `BenchFailed` if no agent came."""


@dataclass(frozen=True)
class Load:
    """One measurement: sessions in flight, sessions a second, and CPU seconds for each."""

    kind: str
    in_flight: int
    rate: float
    failed: int
    cpu: dict[str, float]

    @property
    def cpu_total(self) -> float:
        """CPU seconds of all processes for one session."""
        return sum(self.cpu.values())


@dataclass
class Window:
    """Counts the sessions that are proven between two moments."""

    begins: float
    ends: float
    proven: int = 0
    failed: int = 0

    def note(self) -> None:
        self.proven += self.begins <= time.monotonic() < self.ends

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    span_s = 6.0 if chosen.short else 20.0
    steps = [chosen.sessions] if chosen.sessions else [16, 32] if chosen.short else [8, 16, 32, 64]
    async with both_sides(chosen) as (ours, bare):
        before = usage(ours.stack)
        loads: list[Load] = []
        for _ in range(chosen.rounds or 1):
            for in_flight in steps:
                for side in (bare, ours):
                    await until_idle(side.stack, AGENT_NAME)
                    load = await measure(side, in_flight, span_s)
                    loads.append(load)
                    say(
                        f"{load.kind}, {in_flight} in flight: {load.rate:.1f} sessions/s, "
                        f"{load.cpu_total * 1e3:.0f} ms of CPU each, {load.failed} failed"
                    )
        await until_idle(ours.stack, AGENT_NAME)
        after = usage(ours.stack)
    _show(results, loads, before, after)


@dataclass(frozen=True)
class Side:
    """One side: a LiveKit server with its joiner, and how it brings a session to its proof."""

    kind: str
    stack: Stack
    joiners: Joiners
    session: Callable[["Window"], One]


@asynccontextmanager
async def both_sides(chosen: Options) -> AsyncIterator[tuple[Side, Side]]:
    """Run both sides, each with its own LiveKit server and light joiners: ours first."""
    async with (
        bench_stack(chosen) as stack,
        bare_stack(chosen) as bare_server,
        running_joiners(stack, agent_name=AGENT_NAME, slots=SLOTS) as joiners,
        running_joiners(bare_server, agent_name=AGENT_NAME, slots=SLOTS) as bare_joiners,
        open_client(stack) as client,
        open_bare(bare_server) as bare,
    ):
        yield (
            Side("rollcall", stack, joiners, partial(our_session, client)),
            Side("bare", bare_server, bare_joiners, partial(_bare_session, bare)),
        )


async def measure(side: Side, in_flight: int, span_s: float) -> Load:
    """Keep this many sessions in flight for this long; raises `BenchFailed` if none was proven."""
    begins = time.monotonic() + WARM_UP_S
    window = Window(begins, begins + span_s)
    one = side.session(window)
    working = [asyncio.create_task(_keep(one, window)) for _ in range(in_flight)]
    try:
        await asyncio.sleep(WARM_UP_S)
        first = usage(side.stack, side.joiners.processes)
        await asyncio.sleep(max(0.0, window.ends - time.monotonic()))
        last = usage(side.stack, side.joiners.processes)
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*working)
    finally:
        await stop_all(working)
    side.joiners.refresh()
    if not window.proven:
        raise BenchFailed(f"{side.kind}, {in_flight} in flight: no session was proven in {span_s:g} s")
    cpu = {name: used / window.proven for name, used in cpu_between(first, last).items()}
    return Load(side.kind, in_flight, window.proven / span_s, window.failed, cpu)


async def _keep(one: One, window: Window) -> None:
    while not window.is_over:
        try:
            await one()
        except BenchFailed:
            window.failed += 1


def our_session(client: Client, window: Window) -> One:
    """From POST /v1/sessions until the verifier has seen the agent, then DELETE."""

    async def one() -> None:
        session_id = (await client.start(agent_name=AGENT_NAME))["session_id"]
        seen = await client.feed.until(session_id, "agent.joined.v1", *FINAL, timeout_s=TIMEOUT_S)
        if seen.type != "agent.joined.v1":
            raise BenchFailed(f"session {session_id}: {seen.type}")
        window.note()
        await client.end(session_id)
        client.feed.forget(session_id)

    return one


def _bare_session(bare: Bare, window: Window) -> One:
    async def one() -> None:
        room = new_room()
        await bare.create_room(room, AGENT_NAME)
        await bare.list_dispatches(room)
        await bare.until_active(room, pause_s=POLL_S)
        window.note()
        await bare.delete_room(room)

    return one


def _show(results: Results, loads: list[Load], before: dict[str, Usage], after: dict[str, Usage]) -> None:
    show_loads(loads)
    best = {
        kind: max((load for load in loads if load.kind == kind), key=lambda load: load.rate)
        for kind in ("bare", "rollcall")
    }
    ours, bare = best["rollcall"], best["bare"]
    pipeline = sum(ours.cpu.get(name, 0.0) for name in PIPELINE)
    figures = [
        fact("bare, sessions/s", f"{bare.rate:.1f} ({bare.in_flight} in flight)"),
        fact("rollcall, sessions/s", f"{ours.rate:.1f} ({ours.in_flight} in flight)"),
        at_least("rate, rollcall over bare", ours.rate / bare.rate, AIM),
        at_least("sessions per core second, rollcall over bare", bare.cpu_total / ours.cpu_total, AIM),
        fact("CPU of api, dispatcher and verifier per session", f"{pipeline * 1e3:.0f} ms"),
    ]
    for name in MEASURED:
        grown = f"{before[name].rss_mb:.0f} MB, then {after[name].rss_mb:.0f} MB"
        figures.append(fact(f"memory of the {name}", grown))
    failed = sum(load.failed for load in loads if load.kind == "rollcall")
    figures.append(fact("rollcall, failed sessions in total", str(failed)))
    results.show("throughput", "throughput", figures)


def show_loads(loads: list[Load]) -> None:
    """Print what each process used for a session, a row for each load."""
    names = sorted({name for load in loads for name, used in load.cpu.items() if used >= 0.0005})
    table = Table(title="CPU of each process for one session, in ms", title_justify="left")
    for column in ("", "in flight", "sessions/s", "all", *names):
        table.add_column(column, justify="right" if column else "left")
    for load in loads:
        used = (f"{load.cpu.get(name, 0.0) * 1e3:.0f}" for name in names)
        table.add_row(
            load.kind, str(load.in_flight), f"{load.rate:.1f}", f"{load.cpu_total * 1e3:.0f}", *used
        )
    console.print(table)
