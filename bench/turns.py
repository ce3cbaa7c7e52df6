"""Turns for benchmarks: PostgreSQL, Redis and one consumer as real processes, and when each turn is stored.

PostgreSQL runs as in the tests, without fsync.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from devstack.environment import clean_environment
from devstack.ports import Ports
from devstack.process import Process, ProcessSpec
from devstack.provision.postgres import PostgresServer
from devstack.servers import plan_redis
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import ENVELOPE_FIELD, TURNS_STREAM
from shared.contracts.sessions import Role
from shared.core.migrate import migrate
from shared.platform.redis.client import connect_redis

SESSIONS = 200
BATCH = 1_000
ROOT = Path(__file__).parents[1]
_GROUP = "transcripts"
# A notification takes 8000 bytes.
_NOTIFY = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN
    PERFORM pg_notify('stored', string_agg(item_id, ','))
      FROM (SELECT item_id, row_number() OVER () / 300 AS part FROM written) AS numbered GROUP BY part;
    RETURN NULL;
  END $$;
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


@asynccontextmanager
async def running_lab(folder: Path, postgres: PostgresServer) -> AsyncIterator[Lab]:
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


async def publish(lab: Lab, number: int) -> None:
    for start in range(0, number, BATCH):
        async with lab.redis.pipeline(transaction=False) as pipe:
            for turn in lab.turns(min(BATCH, number - start)):
                pipe.xadd(TURNS_STREAM, {ENVELOPE_FIELD: event_of(turn)})
            await pipe.execute()


def event_of(turn: TurnFinished) -> str:
    envelope = wrap(turn, session_id=turn.session_id, source="bench", time=datetime.now(UTC))
    return envelope.model_dump_json(exclude_none=True)


async def until_drained(lab: Lab) -> None:
    while not await is_drained(lab):
        await asyncio.sleep(0.02)


async def is_drained(lab: Lab) -> bool:
    group: Any = next(g for g in await lab.redis.xinfo_groups(TURNS_STREAM) if g["name"] == _GROUP)
    return bool(group["pending"] == 0 and group["lag"] == 0)


async def notify_commits(lab: Lab) -> None:
    """From now on PostgreSQL tells `commits` of each turn."""
    await lab.db.execute(_NOTIFY)


@asynccontextmanager
async def commits(lab: Lab) -> AsyncIterator[dict[str, float]]:
    """Collect when each turn was committed: PostgreSQL notifies its listeners at that moment."""
    at: dict[str, float] = {}

    def told(*arguments: Any) -> None:
        now = time.perf_counter()
        at.update((item_id, now) for item_id in arguments[3].split(","))

    await lab.db.add_listener("stored", told)
    yield at
    await lab.db.remove_listener("stored", told)
