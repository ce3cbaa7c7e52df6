"""What a session costs: transactions, statements, messages, Redis commands, LiveKit calls and CPU.

Three measurements on one stack. At rest: nothing happens for some seconds. One at a time: healthy sessions
with the light joiner, each ended once its agent is proven; what the stack does at rest in the same time is
taken off. In a burst: 16 sessions in flight, beside the bare calls, for the CPU. Counts do not depend on the
machine; CPU does.
"""

import asyncio
import time
from collections.abc import Sequence

from rich.table import Table

from bench.counts import KINDS, LIVEKIT, TASKS, WRITES, Counts, read_counts
from bench.options import Options, Results, at_least, at_most, console, fact, say
from bench.stacks import PIPELINE, until_idle
from bench.throughput import AGENT_NAME, Load, Side, Window, both_sides, measure
from bench.usage import cpu_between, usage
from devstack.stack import Stack

AIM_CPU_MS = 30.0
AIM_SESSIONS = 0.65
AIM_WRITES = 8.0
AIM_CALLS = 5.0
AIM_REST = 0.02
IN_FLIGHT = 16
# By then the room is closed, and the events are marked as published.
UNTIL_CLOSED_S = 4.0


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    rest_s, span_s = (10.0, 6.0) if chosen.short else (30.0, 20.0)
    sessions = chosen.pick_sessions(short=10, full=30)
    async with both_sides(chosen) as (ours, bare):
        await _one_by_one(ours, 2)  # connections are opened, caches filled
        await asyncio.sleep(UNTIL_CLOSED_S)
        say(f"at rest for {rest_s:g} s …")
        rest, rest_cpu = await _at_rest(ours, rest_s)
        say(f"{sessions} sessions, one after the other …")
        each = await count_sessions(ours, sessions, rest)
        loads = []
        for _ in range(chosen.pick_rounds(short=1, full=3)):
            for side in (bare, ours):
                say(f"{side.kind}, {IN_FLIGHT} in flight …")
                await until_idle(side.stack, AGENT_NAME)
                loads.append(await measure(side, IN_FLIGHT, span_s))
    _show(results, rest, rest_cpu, each, loads)


async def _at_rest(side: Side, span_s: float) -> tuple[Counts, dict[str, float]]:
    """Return counts a second and cores in use, by process."""
    used, begun = usage(side.stack), time.monotonic()
    counts = await count_at_rest(side.stack, span_s)
    passed = time.monotonic() - begun
    cpu = cpu_between(used, usage(side.stack))
    return counts, {name: seconds / passed for name, seconds in cpu.items()}


async def count_at_rest(stack: Stack, span_s: float) -> Counts:
    """Return what the stack counts in a second in which nothing happens."""
    before, begun = await read_counts(stack), time.monotonic()
    await asyncio.sleep(span_s)
    return (await read_counts(stack)).without(before).each(time.monotonic() - begun)


async def count_sessions(side: Side, sessions: int, rest: Counts) -> Counts:
    """Return the counts of one session, without what the stack counts `rest` times a second anyway."""
    before, begun = await read_counts(side.stack), time.monotonic()
    await _one_by_one(side, sessions)
    await asyncio.sleep(UNTIL_CLOSED_S)
    after, passed = await read_counts(side.stack), time.monotonic() - begun
    return after.without(before).without(rest, passed).each(sessions)


async def _one_by_one(side: Side, sessions: int) -> None:
    one = side.session(Window(0.0, float("inf")))
    for _ in range(sessions):
        await one()


def _show(
    results: Results,
    rest: Counts,
    rest_cpu: dict[str, float],
    each: Counts,
    loads: Sequence[Load],
) -> None:
    _show_counts("one healthy session", each)
    _show_counts("at rest, a second", rest)
    ours, bare = ([one for one in loads if one.kind == kind] for kind in ("rollcall", "bare"))
    cpu_ms = _mean([1e3 * sum(one.cpu.get(name, 0.0) for name in PIPELINE) for one in ours])
    ratio = _mean([one.cpu_total for one in bare]) / _mean([one.cpu_total for one in ours])
    figures = [
        at_most("write transactions of a session", each.of(WRITES), AIM_WRITES, shown="{:.1f}"),
        at_most("LiveKit calls of a session", each.of(LIVEKIT), AIM_CALLS, shown="{:.1f}"),
        fact("Celery tasks of a session", f"{each.of(TASKS):.1f}"),
        at_most("CPU of api, dispatcher and verifier, ms a session", cpu_ms, AIM_CPU_MS, shown="{:.0f}"),
        at_least("sessions per core second, rollcall over bare", ratio, AIM_SESSIONS),
        at_most(
            "cores in use at rest", sum(rest_cpu.get(n, 0.0) for n in PIPELINE), AIM_REST, shown="{:.3f}"
        ),
    ]
    for name in PIPELINE:
        figures.append(fact(f"cores of the {name} at rest", f"{rest_cpu.get(name, 0.0):.3f}"))
        cpu = _mean([1e3 * one.cpu.get(name, 0.0) for one in ours])
        figures.append(fact(f"CPU of the {name}, ms a session", f"{cpu:.0f}"))
    results.show("cost", f"what a session costs ({IN_FLIGHT} in flight for the CPU)", figures)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _show_counts(title: str, counts: Counts) -> None:
    names = sorted(counts.by_process)
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("", "all", *names):
        table.add_column(column, justify="right" if column else "left")
    for kind in KINDS:
        shown = (counts.by_process[name].get(kind) for name in names)
        each = ("" if value is None else f"{value:.1f}" for value in shown)
        table.add_row(kind, f"{counts.of(kind):.1f}", *each)
    console.print(table)
