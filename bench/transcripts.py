"""From the turns stream to committed rows: how many, how soon, and in how much memory.

PostgreSQL, Redis and one consumer are real processes. PostgreSQL runs as in the tests, without fsync, for
both sides of each comparison. Raw COPY writes prepared rows into the same table. The bare way to store one
turn is XADD, XREADGROUP and INSERT, one after the other.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.options import Options, Results
from bench.turns import (
    BATCH,
    Lab,
    commits,
    event_of,
    is_drained,
    notify_commits,
    publish,
    running_lab,
    until_drained,
)
from devstack.provision.postgres import running_postgres
from shared.contracts.events import TurnFinished
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM

AIM_THROUGHPUT = 0.5
AIM_P99 = 3.0
AIM_MEMORY = 1.2
TURNS_PER_S = 200


@dataclass
class Figures:
    """The measurements: turns a second, seconds, and bytes."""

    ours: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)


async def run(chosen: Options, _: Results) -> None:
    """Measure and print."""
    await bench_transcripts(short=chosen.short)


async def bench_transcripts(*, short: bool) -> None:
    """Measure and print."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder, running_postgres() as postgres:
        async with running_lab(Path(folder), postgres) as lab:
            for _ in range(3 if short else 5):
                figures.copied.append(await _copy(lab, 10_000 if short else 50_000))
                figures.ours.append(await _drain(lab, 10_000 if short else 50_000))
                print(f"COPY {figures.copied[-1]:.0f}/s, consumer {figures.ours[-1]:.0f}/s", flush=True)
            for backlog in (5_000, 50_000) if short else (100_000, 1_000_000):
                figures.memory.append((backlog, await _peak_memory(lab, backlog)))
                print(f"backlog {backlog}: {figures.memory[-1][1] / 1e6:.0f} MB at most", flush=True)
            await notify_commits(lab)
            figures.latencies = await _latencies(lab, 1_000 if short else 6_000)
            lab.consumer.freeze()
            figures.bare = await _bare_latencies(lab, 1_000 if short else 6_000)
    _print(figures)


async def _copy(lab: Lab, number: int) -> float:
    rows = [_row(turn) for turn in lab.turns(number)]
    columns = [*TurnFinished.model_fields, "stored_at"]
    started = time.perf_counter()
    for start in range(0, number, BATCH):
        batch = rows[start : start + BATCH]
        await lab.db.copy_records_to_table("transcript_item", records=batch, columns=columns)
    return number / (time.perf_counter() - started)


def _row(turn: TurnFinished) -> tuple[Any, ...]:
    fields = {**turn.model_dump(), "metrics": '{"transcription_delay": 0.2, "end_of_turn_delay": 0.4}'}
    return (*{**fields, "extra": "{}"}.values(), datetime.now(UTC))


async def _drain(lab: Lab, number: int) -> float:
    """Return turns a second from a backlog; the consumer is stopped while the backlog is made."""
    lab.consumer.freeze()
    await publish(lab, number)
    started = time.perf_counter()
    lab.consumer.thaw()
    await until_drained(lab)
    return number / (time.perf_counter() - started)


async def _peak_memory(lab: Lab, backlog: int) -> int:
    """Return the consumer's largest resident memory while it handles a backlog."""
    lab.consumer.freeze()
    await publish(lab, backlog)
    process = psutil.Process(lab.consumer.pid)
    sizes = [process.memory_info().rss]
    lab.consumer.thaw()
    while not await is_drained(lab):
        sizes.append(process.memory_info().rss)
        await asyncio.sleep(0.05)
    if refused := await lab.redis.xlen(DEAD_LETTERS_STREAM):
        raise RuntimeError(f"the consumer refused {refused} turns: no backlog was worked off")
    return max(sizes)


async def _latencies(lab: Lab, number: int) -> list[float]:
    sent: dict[str, float] = {}
    async with commits(lab) as committed:
        for turn in _marked(list(lab.turns(number)), sent):
            await lab.redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: event_of(turn)})
            await _pause(sent[turn.item_id])
        while len(committed) < number:
            await asyncio.sleep(0.01)
    return [committed[item_id] - sent[item_id] for item_id in sent]


def _marked(turns: Sequence[TurnFinished], sent: dict[str, float]) -> Iterator[TurnFinished]:
    """Yield turns, and record when."""
    for turn in turns:
        sent[turn.item_id] = time.perf_counter()
        yield turn


async def _pause(since: float) -> None:
    await asyncio.sleep(max(0.0, since + 1 / TURNS_PER_S - time.perf_counter()))


async def _bare_latencies(lab: Lab, number: int) -> list[float]:
    stream = "bench:turns"
    sent: dict[str, float] = {}
    await lab.redis.xgroup_create(stream, "bare", id="0", mkstream=True)
    columns = [*TurnFinished.model_fields, "stored_at"]
    places = ", ".join(f"${n + 1}" for n in range(len(columns)))
    insert = f"INSERT INTO transcript_item ({', '.join(columns)}) VALUES ({places})"
    async with commits(lab) as committed:
        for turn in _marked(list(lab.turns(number)), sent):
            await lab.redis.xadd(stream, {ENVELOPE_FIELD: event_of(turn)})
            await lab.redis.xreadgroup("bare", "c", {stream: ">"}, count=1)
            await lab.db.execute(insert, *_row(turn))
            await _pause(sent[turn.item_id])
        while len(committed) < number:
            await asyncio.sleep(0.01)
    return [committed[item_id] - sent[item_id] for item_id in sent]


def _print(figures: Figures) -> None:
    table = Table(title="transcripts", title_justify="left")
    for column in ("", "rollcall", "bare", "ratio", "aim"):
        table.add_column(column, justify="right" if column else "left")
    ours, copied = statistics.median(figures.ours), statistics.median(figures.copied)
    table.add_row(
        "turns/s, stream to rows, over raw COPY",
        f"{ours:,.0f}",
        f"{copied:,.0f}",
        f"{ours / copied:.2f}",
        f"≥ {AIM_THROUGHPUT}",
    )
    for name, percent in (("p50", 50), ("p99", 99)):
        took, bare = (_percentile(values, percent) for values in (figures.latencies, figures.bare))
        aim = f"≤ {AIM_P99:g}" if name == "p99" else ""
        label = f"XADD to committed row, {TURNS_PER_S} turns/s, {name}"
        table.add_row(label, f"{took * 1e3:.1f} ms", f"{bare * 1e3:.1f} ms", f"{took / bare:.2f}", aim)
    (small, least), (large, most) = figures.memory
    label = f"consumer's memory, backlog of {large:,} over {small:,}"
    table.add_row(
        label, f"{most / 1e6:.0f} MB", f"{least / 1e6:.0f} MB", f"{most / least:.2f}", f"≤ {AIM_MEMORY}"
    )
    Console().print(table)


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
