"""From the turns stream to committed rows: how many, how soon, and in how much memory.

PostgreSQL, Redis and one consumer are real processes. PostgreSQL runs as in the tests, without fsync, for
both sides of each comparison. Raw COPY writes prepared rows into the same table. The bare way to store one
turn is XADD, XREADGROUP and INSERT, one after the other.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from bench.options import Options, Results
from devstack.environment import clean_environment
from devstack.ports import Ports
from devstack.process import Process, ProcessSpec
from devstack.provision.postgres import PostgresServer, running_postgres
from devstack.servers import plan_redis
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM
from shared.contracts.sessions import Role
from shared.core.migrate import migrate
from shared.platform.redis.client import connect_redis

AIM_THROUGHPUT = 0.5
AIM_P99 = 3.0
AIM_MEMORY = 1.2
SESSIONS = 200
BATCH = 1_000
TURNS_PER_S = 200
ROOT = Path(__file__).parents[1]
_GROUP = "transcripts"
_NOTIFY = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_notify('stored', string_agg(item_id, ',')) FROM written; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON transcript_item REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION tell();
"""


@dataclass
class Lab:
    """The servers, the consumer's process, and the sessions whose turns are stored."""

    redis: Redis
    db: asyncpg.Connection
    consumer: Process
    sessions: list[str]
    said: int = 0

    def turns(self, number: int) -> Iterator[TurnFinished]:
        """Yield the next turns, from all sessions in turn."""
        now = datetime.now(UTC)
        for _ in range(number):
            self.said += 1
            yield TurnFinished(
                session_id=SessionId(self.sessions[self.said % SESSIONS]),
                attempt=1,
                seq=self.said // SESSIONS + 1,
                item_id=f"item_{self.said:012x}",
                role=Role.USER,
                text=f"This is turn {self.said}, and it goes on for about as long as people talk. " * 2,
                language="en",
                confidence=0.9,
                created_at=now,
                started_at=now,
                ended_at=now,
                participant_identity="caller-1",
                job_id="AJ_1",
                worker_id="AW_1",
                metrics={"transcription_delay": 0.2, "end_of_turn_delay": 0.4},
            )


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
        async with _lab(Path(folder), postgres) as lab:
            for _ in range(3 if short else 5):
                figures.copied.append(await _copy(lab, 10_000 if short else 50_000))
                figures.ours.append(await _drain(lab, 10_000 if short else 50_000))
                print(f"COPY {figures.copied[-1]:.0f}/s, consumer {figures.ours[-1]:.0f}/s", flush=True)
            for backlog in (5_000, 50_000) if short else (100_000, 1_000_000):
                figures.memory.append((backlog, await _peak_memory(lab, backlog)))
                print(f"backlog {backlog}: {figures.memory[-1][1] / 1e6:.0f} MB at most", flush=True)
            await lab.db.execute(_NOTIFY)
            figures.latencies = await _latencies(lab, 1_000 if short else 6_000)
            lab.consumer.freeze()
            figures.bare = await _bare_latencies(lab, 1_000 if short else 6_000)
    _print(figures)


@asynccontextmanager
async def _lab(folder: Path, postgres: PostgresServer) -> AsyncIterator[Lab]:
    url = await postgres.create_database("bench")
    await migrate(url)
    server = await plan_redis(folder, clean_environment(), ports=Ports(fixed=False, tell=print))
    assert server.spec is not None
    log_file = folder / "transcripts.log"

    async def ready(_: int) -> bool:
        return "storing transcripts" in log_file.read_text()

    env = {"DATABASE_URL": url, "REDIS_URL": server.url, "LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}
    spec = ProcessSpec(
        name="transcripts",
        command=[sys.executable, "-m", "services.transcripts"],
        env=clean_environment(env),
        cwd=folder,
        log_file=log_file,
        ready=ready,
    )
    processes = [Process(each, notify=lambda *_: None) for each in (server.spec, spec)]
    redis, db = connect_redis(server.url, timeout_s=30), None
    try:
        for process in processes:
            await process.start()
        db = await asyncpg.connect(host=str(postgres.folder), user="postgres", database="bench")
        yield Lab(redis, db, processes[1], await _make_sessions(db))
    finally:
        await redis.aclose()
        if db is not None:
            await db.close()
        for process in reversed(processes):
            await process.stop()


async def _make_sessions(db: asyncpg.Connection) -> list[str]:
    made = [new_id() for _ in range(SESSIONS)]
    await db.executemany(
        "INSERT INTO session (id, project, status, version, last_sequence, room_name, room_is_ours,"
        " agent_name, mode, models, metadata, participant_identity, attempt, max_attempts, required_level,"
        " canary, revivals, requested_at, deadline_at) VALUES ($1, 'default', 'active', 1, 0, $1, true,"
        " 'agent', 'pipeline', '{}', '{}', 'caller-1', 1, 3, 'active', false, 0, now(), now())",
        [(session_id,) for session_id in made],
    )
    return made


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
    await _publish(lab, number)
    started = time.perf_counter()
    lab.consumer.thaw()
    await _until_drained(lab)
    return number / (time.perf_counter() - started)


async def _peak_memory(lab: Lab, backlog: int) -> int:
    """Return the consumer's largest resident memory while it handles a backlog."""
    lab.consumer.freeze()
    await _publish(lab, backlog)
    process = psutil.Process(lab.consumer.pid)
    sizes = [process.memory_info().rss]
    lab.consumer.thaw()
    while not await _drained(lab):
        sizes.append(process.memory_info().rss)
        await asyncio.sleep(0.05)
    if refused := await lab.redis.xlen(DEAD_LETTERS_STREAM):
        raise RuntimeError(f"the consumer refused {refused} turns: no backlog was worked off")
    return max(sizes)


async def _publish(lab: Lab, number: int) -> None:
    for start in range(0, number, BATCH):
        async with lab.redis.pipeline(transaction=False) as pipe:
            for turn in lab.turns(min(BATCH, number - start)):
                pipe.xadd(TURNS_STREAM, {ENVELOPE_FIELD: _event(turn)})
            await pipe.execute()


def _event(turn: TurnFinished) -> str:
    envelope = wrap(turn, session_id=turn.session_id, source="bench", time=datetime.now(UTC))
    return envelope.model_dump_json(exclude_none=True)


async def _until_drained(lab: Lab) -> None:
    while not await _drained(lab):
        await asyncio.sleep(0.02)


async def _drained(lab: Lab) -> bool:
    group: Any = next(g for g in await lab.redis.xinfo_groups(TURNS_STREAM) if g["name"] == _GROUP)
    return bool(group["pending"] == 0 and group["lag"] == 0)


@asynccontextmanager
async def _commits(lab: Lab) -> AsyncIterator[dict[str, float]]:
    """Collect when each turn was committed: PostgreSQL notifies its listeners at that moment."""
    at: dict[str, float] = {}

    def told(*arguments: Any) -> None:
        now = time.perf_counter()
        at.update((item_id, now) for item_id in arguments[3].split(","))

    await lab.db.add_listener("stored", told)
    yield at
    await lab.db.remove_listener("stored", told)


async def _latencies(lab: Lab, number: int) -> list[float]:
    sent: dict[str, float] = {}
    async with _commits(lab) as committed:
        for turn in _marked(list(lab.turns(number)), sent):
            await lab.redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: _event(turn)})
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
    async with _commits(lab) as committed:
        for turn in _marked(list(lab.turns(number)), sent):
            await lab.redis.xadd(stream, {ENVELOPE_FIELD: _event(turn)})
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
