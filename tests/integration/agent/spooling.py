"""Jobs that write spools, a host that looks after them, and the turns that Redis got."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from rollcall_agent.job.turns import TurnLog
from rollcall_agent.report import Reporter
from rollcall_agent.spool.resend import Resender
from rollcall_agent.spool.spool import JobSpool, SpooledOutbox
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.events import Envelope, Step, TurnFinished
from shared.contracts.keys import ENVELOPE_FIELD, REPORTS_STREAM, TURNS_STREAM
from shared.core.workers.backend import Backend, RedisBackend
from shared.platform.clock import utc_now
from tests.support.stream_entries import entries_of
from tests.unit.agent.agent_fakes import FACTS, ListedOutbox, an_order
from tests.unit.rollcall_agent.test_turns import a_message


class Job:
    """A job with its spool, which says something now and then."""

    def __init__(
        self,
        folder: Path,
        *,
        failures: SharedCounter | None = None,
        first_seq: int = 1,
        credential: str | None = None,
    ) -> None:
        self.outbox = ListedOutbox()
        self.spool = JobSpool(folder, failures=failures or SharedCounter(), credential=credential)
        both = SpooledOutbox(self.outbox, self.spool)
        order = an_order(first_seq=first_seq)
        self.reporter = Reporter(order=order, facts=FACTS, outbox=both)
        self.turns = TurnLog(order=order, facts=FACTS, outbox=both)
        self.reporter.step(Step.ENTRYPOINT_STARTED)

    def say(self, *texts: str) -> None:
        for text in texts:
            self.turns.message(a_message(text), caller=None, language=None)

    async def close(self) -> None:
        self.reporter.step(Step.CLOSED, reason="user_initiated", turns=self.turns.count)
        await self.spool.aclose()

    async def die(self) -> None:
        """What is left of it is its file, without a lock."""
        await self.spool.aclose()

    @property
    def said(self) -> list[TurnFinished]:
        return [event for event in self.outbox.events if isinstance(event, TurnFinished)]


class Host:
    """A folder, and the worker that looks after it; the test moves its clock.

    backend: its way to Rollcall, if that is not over Redis.
    """

    def __init__(self, folder: Path, redis: Redis, *, backend: Backend | None = None) -> None:
        self.folder = folder
        self.redis = redis
        self.backend = backend or RedisBackend(redis)
        self.time = 1000.0
        self.later = timedelta()
        self.failures = SharedCounter()
        self.resender = self.worker()

    def worker(self) -> Resender:
        return Resender(
            self.folder,
            backend=self.backend,
            failures=self.failures,
            now=lambda: utc_now() + self.later,
            monotonic=lambda: self.time,
        )

    async def after(self, seconds: float = 0.0) -> bool:
        self.time += seconds
        return await self.resender.round(hurry=True)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))


async def sent(redis: Redis, stream: str) -> list[Any]:
    entries = await entries_of(redis, stream)
    return [Envelope.model_validate_json(fields[ENVELOPE_FIELD]).event() for _, fields in entries]


async def turns_sent(redis: Redis) -> list[tuple[int, str]]:
    return [(turn.seq, turn.text) for turn in await sent(redis, TURNS_STREAM)]


async def counts_sent(redis: Redis) -> list[tuple[Step, int | None]]:
    return [(report.step, report.turns) for report in await sent(redis, REPORTS_STREAM)]
