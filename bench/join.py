"""From the request to the agent's ACTIVE: Rollcall over the bare calls, with the same worker.

Bare is what an application does that trusts LiveKit: CreateDispatch, then ListParticipants as fast as the
server answers. Rollcall is POST /v1/sessions until its verifier has seen the agent, and, measured more
strictly, until a client that follows the session's events has the event. Beside it, a second Rollcall runs
with LIVEKIT_PLACEMENT=off. The three take turns, so that other load on the machine affects all. One session
at a time uses the real agent. Ten and twenty at once use the light joiner, since so many agent processes
would measure the machine.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from bench.client import Bare, Client, new_room, open_bare, open_client
from bench.joiners import Joiners, running_joiners
from bench.options import (
    BenchFailed,
    Figure,
    Options,
    Results,
    at_most,
    fact,
    p50,
    p95,
    say,
    seconds,
    show_times,
)
from bench.stacks import EVERYTHING, bare_stack, bench_stack, until_idle
from devstack.stack import Stack

AIM_P50 = 1.10
AIM_P95 = 1.15
AIM_CALLS = 4.0
TIMEOUT_S = 30
OFF: Final = {"LIVEKIT_PLACEMENT": "off"}
WARM_UP_ROUNDS = 2
SLOTS = 60
# The pause between two looks at a room. Without it, many pollers would measure their own polling.
POLL_S = {1: 0.005, 10: 0.02, 20: 0.02}
# After each job the worker starts a new warm process, which keeps a core busy for a moment.
REST_S = {"agent": 2.0, "light": 0.5}


@dataclass
class Samples:
    """Seconds, one for each session; `calls` are LiveKit calls per session, one for each round.

    `joined` are by the agent's own clock, so that no polling is in them; only the light joiner tells.
    """

    seen: list[float] = field(default_factory=list)
    joined: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Ours:
    """A Rollcall, and the light joiners of its LiveKit server, if it has any."""

    client: Client
    joiners: Joiners | None = None


@dataclass(frozen=True)
class _Sides:
    """All sides, each with its own LiveKit server and worker of the same kinds. `by_name`: placement off."""

    ours: _Ours
    by_name: _Ours
    bare: Bare
    bare_server: Stack
    agent_name: str
    bare_joiners: Joiners | None = None


@dataclass
class _Measured:
    """The samples of all sides."""

    ours: Samples = field(default_factory=Samples)
    by_name: Samples = field(default_factory=Samples)
    bare: Samples = field(default_factory=Samples)


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    async with _real(chosen) as sides:
        measured = await _measure(sides, at_once=1, rounds=chosen.pick_rounds(short=5, full=30))
        _show(results, "N = 1, the real agent", measured)
    async with _light(chosen) as sides:
        for at_once, full in ((1, 30), (10, 15), (20, 10)):
            rounds = chosen.pick_rounds(short=3, full=full)
            measured = await _measure(sides, at_once=at_once, rounds=rounds)
            _show(results, f"N = {at_once}, the light joiner", measured)


@asynccontextmanager
async def _real(chosen: Options) -> AsyncIterator[_Sides]:
    async with (
        bench_stack(chosen, services=EVERYTHING) as stack,
        bench_stack(chosen, services=EVERYTHING, env=OFF) as off,
        bare_stack(chosen, services=("inference", "agent")) as bare_server,
        open_client(stack) as client,
        open_client(off) as by_name,
        open_bare(bare_server) as bare,
    ):
        yield _Sides(_Ours(client), _Ours(by_name), bare, bare_server, "agent")


@asynccontextmanager
async def _light(chosen: Options) -> AsyncIterator[_Sides]:
    async with (
        bench_stack(chosen) as stack,
        bench_stack(chosen, env=OFF) as off,
        bare_stack(chosen) as bare_server,
        running_joiners(stack, slots=SLOTS) as joiners,
        running_joiners(off, slots=SLOTS) as joiners_by_name,
        running_joiners(bare_server, slots=SLOTS) as bare_joiners,
        open_client(stack) as client,
        open_client(off) as by_name,
        open_bare(bare_server) as bare,
    ):
        ours, without = _Ours(client, joiners), _Ours(by_name, joiners_by_name)
        yield _Sides(ours, without, bare, bare_server, "light", bare_joiners)


async def _measure(sides: _Sides, *, at_once: int, rounds: int) -> _Measured:
    measured = _Measured()
    for number in range(-WARM_UP_ROUNDS, rounds):
        into = measured if number >= 0 else _Measured()
        kinds = [
            partial(_bare_round, sides, at_once, into.bare),
            partial(_our_round, sides.ours, sides.agent_name, at_once, into.ours),
            partial(_our_round, sides.by_name, sides.agent_name, at_once, into.by_name),
        ]
        # The order changes.
        turn = number % len(kinds)
        for kind in kinds[turn:] + kinds[:turn]:
            await _rest(sides)
            await kind()
        if number >= 0:
            newest = ", ".join(
                f"{name} {seconds(p50(samples.seen[-at_once:]))}" for name, samples in vars(into).items()
            )
            say(f"N = {at_once}, round {number + 1}/{rounds}: {newest}")
    return measured


async def _rest(sides: _Sides) -> None:
    for stack in (sides.ours.client.stack, sides.by_name.client.stack, sides.bare_server):
        await until_idle(stack, sides.agent_name)
    await asyncio.sleep(REST_S[sides.agent_name])


async def _bare_round(sides: _Sides, at_once: int, samples: Samples) -> None:
    rooms = [new_room() for _ in range(at_once)]
    started = time.time()

    async def one(room: str) -> float:
        await sides.bare.dispatch(room, sides.agent_name)
        return await sides.bare.until_active(room, pause_s=POLL_S[at_once], timeout_s=TIMEOUT_S)

    seen = await asyncio.gather(*(one(room) for room in rooms))
    samples.seen += [at - started for at in seen]
    samples.joined += await _joined(sides.bare_joiners, rooms, started)
    await asyncio.gather(*(sides.bare.delete_room(room) for room in rooms))


async def _our_round(ours: _Ours, agent_name: str, at_once: int, samples: Samples) -> None:
    client = ours.client
    before = sum((await client.livekit_calls()).values())
    started = time.time()

    async def one() -> tuple[dict[str, str], float]:
        session = await client.start(agent_name=agent_name)
        if at_once == 1:
            async with asyncio.timeout(TIMEOUT_S):
                await client.told(session["session_id"], "agent.joined.v1")
        else:
            types = ("agent.joined.v1", "session.failed.v1")
            found = await client.feed.until(session["session_id"], *types, timeout_s=TIMEOUT_S)
            if found.type != "agent.joined.v1":
                raise BenchFailed(f"session {session['session_id']} failed: {found.data}")
        return session, time.time() - started

    done = await asyncio.gather(*(one() for _ in range(at_once)))
    samples.calls.append((sum((await client.livekit_calls()).values()) - before) / at_once)
    samples.told += [told for _, told in done] if at_once == 1 else []
    for session, _ in done:
        timings = (await client.get(f"/v1/sessions/{session['session_id']}"))["timings"]
        samples.seen.append(datetime.fromisoformat(timings["active_at"]).timestamp() - started)
    samples.joined += await _joined(ours.joiners, [session["room_name"] for session, _ in done], started)
    await asyncio.gather(*(client.end(session["session_id"]) for session, _ in done))


async def _joined(joiners: Joiners | None, rooms: Sequence[str], started: float) -> list[float]:
    if joiners is None:
        return []
    # LiveKit may know that the agent is in the room before the agent does.
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            joiners.refresh()
            times = [at for room in rooms if (at := joiners.joined_at(room)) is not None]
            if len(times) == len(rooms):
                return [at - started for at in times]
            await asyncio.sleep(0.05)


def _show(results: Results, title: str, measured: _Measured) -> None:
    ours, by_name, bare = measured.ours, measured.by_name, measured.bare
    show_times(
        f"request to ACTIVE, {title}",
        [
            ("bare: agent seen", bare.seen),
            ("rollcall: agent seen", ours.seen),
            ("rollcall, placement off: agent seen", by_name.seen),
            ("rollcall: client told", ours.told),
            ("bare: agent's own clock", bare.joined),
            ("rollcall: agent's own clock", ours.joined),
            ("rollcall, placement off: agent's own clock", by_name.joined),
        ],
    )
    figures: list[Figure] = [
        at_most("p50, rollcall over bare", p50(ours.seen) / p50(bare.seen), AIM_P50),
        at_most("p95, rollcall over bare", p95(ours.seen) / p95(bare.seen), AIM_P95),
        fact("p50, placement on over off", f"{p50(ours.seen) / p50(by_name.seen):.2f}"),
        fact("p95, placement on over off", f"{p95(ours.seen) / p95(by_name.seen):.2f}"),
        at_most("LiveKit calls per join", sum(ours.calls) / len(ours.calls), AIM_CALLS, shown="{:.1f}"),
    ]
    results.show("join", title, [Figure(f"{title}: {f.what}", f.value, f.aim, f.met) for f in figures])
