"""A burst beyond the free slots: how many sessions have no agent in the end, bare and with Rollcall.

Thirty sessions start at once, for workers with ten slots, whose calls last two seconds. LiveKit silently
drops a job that no worker takes; Rollcall lets the session wait for a slot.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.client import FINAL, Bare, Client, new_room, open_bare, open_client
from bench.joiners import Joiners, running_joiners
from bench.options import Figure, Options, Results, at_most, fact, p50, say, seconds
from bench.stacks import bench_stack, until_idle

WORKERS = 2
SLOTS = 5
HOLD_S = 2.0
# The default budget of a session; bare gets the same.
BUDGET_S = 15.0
SLACK_S = 15.0


@dataclass(frozen=True)
class Burst:
    """The outcome of one burst; `waits` are the seconds until each agent that came was in its room."""

    missing: int
    doubles: int
    replaced: int
    waits: list[float]
    waited: int = 0


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    size = chosen.pick_sessions(short=30, full=30)
    rounds = chosen.pick_rounds(short=1, full=5)
    async with (
        bench_stack(chosen) as stack,
        running_joiners(stack, workers=WORKERS, slots=SLOTS, hold_s=HOLD_S) as joiners,
        open_client(stack) as client,
        open_bare(stack) as bare,
    ):
        kinds: dict[str, list[Burst]] = {"bare": [], "rollcall": []}
        for number in range(rounds):
            kinds["bare"].append(await _bare(bare, joiners, size))
            await until_idle(stack, "light")
            kinds["rollcall"].append(await _ours(client, joiners, size))
            await until_idle(stack, "light")
            line = ", ".join(f"{name} {bursts[-1].missing} missing" for name, bursts in kinds.items())
            say(f"burst {number + 1}/{rounds} of {size} on {WORKERS * SLOTS} slots: {line}")
    _show(results, kinds, size)


async def _bare(bare: Bare, joiners: Joiners, size: int) -> Burst:
    rooms = [new_room() for _ in range(size)]
    started = time.time()
    await asyncio.gather(*(bare.create_room(room, "light") for room in rooms))
    while time.time() < started + BUDGET_S:
        joiners.refresh()
        if all(room in joiners.stays for room in rooms):
            break
        await asyncio.sleep(0.1)
    burst = _judge(joiners, set(rooms), started)
    await asyncio.gather(*(bare.delete_room(room) for room in rooms))
    return burst


async def _ours(client: Client, joiners: Joiners, size: int) -> Burst:
    started = time.time()
    sessions = await asyncio.gather(*(client.start(agent_name="light") for _ in range(size)))
    ids = [session["session_id"] for session in sessions]
    types = ("agent.joined.v1", *FINAL)
    await asyncio.gather(*(client.feed.until(i, *types, timeout_s=BUDGET_S + SLACK_S) for i in ids))
    burst = _judge(joiners, {session["room_name"] for session in sessions}, started)
    joined = [seen for i in ids if (seen := client.feed.first(i, "agent.joined.v1"))]
    waited = sum(client.feed.first(i, "session.waiting.v1") is not None for i in ids)
    # A session that knows no agent has none, whatever the joiners report.
    missing = max(burst.missing, size - len(joined))
    await asyncio.gather(*(client.end(i) for i in ids))
    return Burst(missing, burst.doubles, burst.replaced, [seen.at - started for seen in joined], waited)


def _judge(joiners: Joiners, rooms: set[str], started: float) -> Burst:
    joiners.refresh()
    times = [at - started for room in rooms if (at := joiners.joined_at(room)) is not None]
    return Burst(len(rooms) - len(times), joiners.doubles(rooms), joiners.replaced(rooms), times)


def _show(results: Results, kinds: dict[str, list[Burst]], size: int) -> None:
    ours = kinds["rollcall"]
    figures: list[Figure] = []
    for name, bursts in kinds.items():
        missing = sum(burst.missing for burst in bursts)
        total = f"{missing} of {len(bursts) * size}"
        if name == "rollcall":
            figures.append(Figure("rollcall: agents missing", total, "0", missing == 0))
        else:
            figures.append(fact(f"{name}: agents missing", total))
        waits = [wait for burst in bursts for wait in burst.waits]
        if waits:
            value = f"{seconds(p50(waits))}, {seconds(max(waits))}"
            figures.append(fact(f"{name}: request to agent, p50 and the last", value))
    doubles = sum(burst.doubles for burst in ours)
    figures.append(at_most("rollcall: rooms with two agents at once", doubles, 0, shown="{:.0f}"))
    replaced = sum(burst.replaced for burst in ours)
    figures.append(fact("rollcall: rooms with one agent after another", str(replaced)))
    waited = f"{sum(burst.waited for burst in ours)} of {len(ours) * size}"
    figures.append(fact("rollcall: sessions that were shown as waiting", waited))
    title = f"bursts of {size} on {WORKERS * SLOTS} slots, calls of {HOLD_S:g} s"
    results.show("burst", title, figures)
