"""A burst while three of five workers are dead: how many agents are missing, and how late are the others?

Each round plays the same burst three times. First all five workers are healthy. Then one is frozen, one is
cut off and one is killed, at the same moment as the requests come. At last the burst comes once their
heartbeats have expired, while LiveKit still lists those that said no goodbye. Bare is CreateRoom with the
agent, on a LiveKit server and with workers of its own; a session and a bare room have the same time for their
agent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.client import FINAL, Bare, Client, new_room, open_bare, open_client
from bench.ghosts import running_ghosts
from bench.joiners import running_joiners
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
from bench.stacks import bare_stack, bench_stack, until_idle
from devstack.stack import Stack
from services.verifier.prove.answers import window_s
from shared.contracts.keys import worker_answers_key
from shared.core.workers.registry import read_fleet
from shared.platform.redis.client import connect_redis

NAME = "light"
GOOD = 2
SLOTS = 60
BUDGET_S = 15.0
SLACK_S = 15.0
POLL_S = 0.02
AIM_P95 = 1.5
# The default of OWN_WORKER_WINDOW_S.
LONGEST_WINDOW_S = 3.0
EXPIRED_S = 60.0
# Bursts of this size tell how soon each of five workers answers as a rule: at least ten answers each.
WARM_UPS = 3
WARM_UP_SIZE = 20
HEALTHY: Final = "all healthy"
DYING: Final = "as three go dead"
DEAD: Final = "with three dead"


@dataclass
class Outcome:
    """Sessions of several bursts; `waits` are the seconds to each agent that came."""

    sessions: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """How many sessions had no agent."""
        return self.sessions - len(self.waits)


@dataclass
class _Side:
    """One side: how it plays a burst, and what came of the bursts of each phase."""

    name: str
    stack: Stack
    burst: Callable[[int], Awaitable[list[float]]]
    phases: dict[str, Outcome] = field(
        default_factory=lambda: {phase: Outcome() for phase in (HEALTHY, DYING, DEAD)}
    )
    answers: list[list[float]] = field(default_factory=list)  # of each worker, in seconds


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    size = chosen.pick_sessions(short=30, full=30)
    rounds = chosen.pick_rounds(short=1, full=5)
    kinds: list[str] = []
    async with _sides(chosen) as sides:
        for number in range(rounds):
            for side in sides if number % 2 else reversed(sides):
                kinds = await _round(side, size, number)
            missing = ", ".join(
                f"{side.name} {side.phases[DYING].missing} and {side.phases[DEAD].missing} missing"
                for side in sides
            )
            say(f"round {number + 1}/{rounds}, bursts of {size}: {missing}")
    _show(results, sides, f"bursts of {size}; {GOOD} workers stay, the others: {', '.join(kinds)}")


@asynccontextmanager
async def _sides(chosen: Options) -> AsyncIterator[list[_Side]]:
    async with (
        bench_stack(chosen) as stack,
        bare_stack(chosen) as bare_server,
        running_joiners(stack, agent_name=NAME, workers=GOOD, slots=SLOTS),
        running_joiners(bare_server, agent_name=NAME, workers=GOOD, slots=SLOTS),
        open_client(stack) as client,
        open_bare(bare_server) as bare,
    ):
        yield [
            _Side("bare", bare_server, lambda size: _bare_burst(bare, size)),
            _Side("rollcall", stack, lambda size: _our_burst(client, size)),
        ]


async def _round(side: _Side, size: int, number: int) -> list[str]:
    """Play the burst in each phase; return what has become of the workers that went dead."""
    async with running_ghosts(side.stack, agent_name=NAME, slots=SLOTS, label=f"ghost-{number}") as ghosts:
        for _ in range(WARM_UPS):
            await until_idle(side.stack, NAME)
            await side.burst(WARM_UP_SIZE)
        await _phase(side, HEALTHY, size)
        side.answers += await _answers(side.stack)
        await until_idle(side.stack, NAME)
        await ghosts.lose()
        await _phase(side, DYING, size)
        await _until_expired(side.stack)
        await _phase(side, DEAD, size)
        await until_idle(side.stack, NAME)
        return ghosts.kinds


async def _phase(side: _Side, phase: str, size: int) -> None:
    if phase != DYING:  # a dead worker would never be idle
        await until_idle(side.stack, NAME)
    outcome = side.phases[phase]
    outcome.waits += await side.burst(size)
    outcome.sessions += size


async def _answers(stack: Stack) -> list[list[float]]:
    """How soon each live worker has answered its newest dispatches, in seconds."""
    redis = connect_redis(stack.redis_url)
    async with aclosing(redis):
        workers = (await read_fleet(redis)).named(NAME)
        kept = [await redis.lrange(worker_answers_key(worker.worker_id), 0, -1) for worker in workers]
    return [[int(ms) / 1000 for ms in one] for one in kept if one]


async def _until_expired(stack: Stack) -> None:
    """Wait until only the workers that stay have a heartbeat; raises `BenchFailed`."""
    redis = connect_redis(stack.redis_url)
    try:
        async with aclosing(redis), asyncio.timeout(EXPIRED_S):
            while len((await read_fleet(redis)).named(NAME)) > GOOD:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BenchFailed(f"the dead workers' heartbeats did not expire in {EXPIRED_S:g} s") from None


async def _bare_burst(bare: Bare, size: int) -> list[float]:
    rooms = [new_room() for _ in range(size)]
    started = time.time()

    async def one(room: str) -> float | None:
        await bare.create_room(room, NAME)
        while time.time() < started + BUDGET_S:
            if await bare.agents(room):
                return time.time() - started
            await asyncio.sleep(POLL_S)
        return None

    found = await asyncio.gather(*(one(room) for room in rooms))
    await asyncio.gather(*(bare.delete_room(room) for room in rooms))
    return [wait for wait in found if wait is not None]


async def _our_burst(client: Client, size: int) -> list[float]:
    started = time.time()
    ids = [
        session["session_id"]
        for session in await asyncio.gather(*(client.start(agent_name=NAME) for _ in range(size)))
    ]
    types = ("agent.joined.v1", *FINAL)
    await asyncio.gather(*(client.feed.until(i, *types, timeout_s=BUDGET_S + SLACK_S) for i in ids))
    joined = [seen for i in ids if (seen := client.feed.first(i, "agent.joined.v1"))]
    await asyncio.gather(*(client.end(i) for i in ids))
    return [seen.at - started for seen in joined]


def _show(results: Results, sides: list[_Side], title: str) -> None:
    rows = [
        (f"{side.name}: {phase}", outcome.waits) for side in sides for phase, outcome in side.phases.items()
    ]
    show_times("request to ACTIVE, of the agents that came", rows)
    figures = [figure for side in sides for figure in _figures(side)]
    results.show("ghost", title, figures)


def _figures(side: _Side) -> list[Figure]:
    figures: list[Figure] = []
    healthy = side.phases[HEALTHY]
    for phase in (DYING, DEAD):
        outcome = side.phases[phase]
        what, missing = f"{side.name}, {phase}: ", f"{outcome.missing} of {outcome.sessions}"
        if side.name == "rollcall":
            figures.append(Figure(f"{what}agents missing", missing, "0", outcome.missing == 0))
        else:
            figures.append(fact(f"{what}agents missing", missing))
        if not outcome.waits or not healthy.waits:
            continue
        value = f"{seconds(p50(outcome.waits))}, {seconds(p95(outcome.waits))}"
        figures.append(fact(f"{what}request to ACTIVE, p50 and p95", value))
        ratio = p95(outcome.waits) / p95(healthy.waits)
        figures.append(at_most(f"{what}p95 over that with all healthy", ratio, AIM_P95))
    return [*figures, *_answer_figures(side)]


def _answer_figures(side: _Side) -> list[Figure]:
    answers = [answer for one in side.answers for answer in one]
    if not answers:
        return []
    windows = [window_s(one, longest_s=LONGEST_WINDOW_S) for one in side.answers]
    times = ", ".join(seconds(value) for value in (p50(answers), p95(answers), max(answers)))
    return [
        fact(f"{side.name}: {len(answers)} answers to dispatches, p50, p95 and the slowest", times),
        fact(
            f"{side.name}: windows that follow, shortest to longest",
            f"{seconds(min(windows))} to {seconds(max(windows))}",
        ),
    ]
