"""Receive the reports of agent workers: record them on the attempt, and wake the task that waits.

A report decides nothing. It gives the times of the levels of proof and the evidence for a cause, and it makes
the next poll come at once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from services.verifier import metrics
from services.verifier.prove.chosen_worker import ChosenWorkers
from services.verifier.prove.find_cause import fatal_error
from services.verifier.wake import Waker
from shared.contracts.events import AgentAssigned, AgentReady, AgentReported, AgentSpoke, Event, Step
from shared.contracts.keys import REPORTS_STREAM
from shared.contracts.sessions import Level, SessionStatus
from shared.core.sessions.attempts import AttemptKey, lock_attempts
from shared.core.sessions.metrics import level_reached
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import record
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.sessions.upkeep import set_room_sid, watch_now
from shared.core.transcripts.watermark import publish_counted
from shared.platform.background import finish, run_together
from shared.platform.clock import Clock
from shared.platform.database.database import Database, after_commit
from shared.platform.database.errors import DATABASE_ERRORS, is_of_the_data
from shared.platform.logs.logs import bound, get_logger
from shared.platform.redis.hints import give_hint
from shared.platform.redis.streams import UNREACHABLE as REDIS_UNREACHABLE
from shared.platform.redis.streams import ConsumerGroup, Entry, dead_letter

log = get_logger(__name__)

GROUP = "verifier"
RETRY_DELAY_S = 0.5

_DATED_BY = {
    Step.ACCEPTED: "assigned_at",
    Step.REJECTED: "rejected_at",
    Step.ENTRYPOINT_STARTED: "entrypoint_at",
    Step.CONNECTED: "connected_at",
    Step.READY: "ready_at",
    Step.FIRST_SPEECH: "first_speech_at",
    Step.CLOSED: "closed_at",
}
# Steps after which the verifier should look at the room or the attempt at once.
_WAKING = {Step.CONNECTED, Step.READY, Step.REJECTED, Step.ERROR, Step.CLOSED}
# Steps that report how many turns there are.
_COUNTING = {Step.CLOSED, Step.SETTLED}
# Steps by which a worker answers an offer.
_ANSWERS = {Step.ACCEPTED, Step.REJECTED}
_LEVELS = {
    Step.ACCEPTED: Level.ASSIGNED,
    Step.READY: Level.READY,
    Step.FIRST_SPEECH: Level.FIRST_SPEECH,
}


# Steps that nobody waits for: they are written with the next ones.
_PATIENT = {Step.ACCEPTED, Step.ENTRYPOINT_STARTED, Step.FIRST_SPEECH, Step.SETTLED}
LINGER_S = 0.15


class _Report(NamedTuple):
    """A report as it came, and when its worker sent it."""

    entry: Entry
    content: AgentReported
    at: datetime


class Reports:
    """Consumes the reports stream.

    It keeps reports that nobody waits for until the next one that somebody waits for, at most for
    `LINGER_S`, and writes them in one transaction.
    """

    def __init__(
        self, *, database: Database, redis: Redis, relay: Relay, waker: Waker, consumer: str, now: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._relay = relay
        self._waker = waker
        self._chosen_workers = ChosenWorkers(redis)
        self._group = ConsumerGroup(redis, stream=REPORTS_STREAM, group=GROUP, consumer=consumer)
        self._now = now
        self._kept: list[_Report] = []
        self._has_kept = asyncio.Event()
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Consume forever."""
        try:
            await run_together(reports_read=self._consume, reports_write=self._write_what_lingers)
        finally:
            await finish(self._group.give_back())

    async def _consume(self) -> None:
        async for batch in self._group.batches():
            try:
                await self._take(batch)
            except (RedisError, *DATABASE_ERRORS) as error:
                await self._not_handled(error)

    async def _write_what_lingers(self) -> None:
        while True:
            await self._has_kept.wait()
            await asyncio.sleep(LINGER_S)
            try:
                await self._write_kept()
            except (RedisError, *DATABASE_ERRORS) as error:
                await self._not_handled(error)

    async def _not_handled(self, error: Exception) -> None:
        # Not acknowledged, so they come again.
        log.warning("reports_not_handled", error=repr(error))
        await asyncio.sleep(RETRY_DELAY_S)
        self._group.read_again()

    async def _take(self, batch: Sequence[Entry]) -> None:
        reports = [found for entry in batch if (found := await self._parse(entry))]
        # A caller waits for an agent in the room, so wake first and then write.
        await self._wake([one for one in reports if one.content.step == Step.CONNECTED])
        self._kept += reports
        if self._kept:
            self._has_kept.set()
        if any(one.content.step not in _PATIENT for one in reports):
            await self._write_kept()

    async def _write_kept(self) -> None:
        async with self._writing:
            reports, self._kept = self._kept, []
            self._has_kept.clear()
            await self._store(reports)
            await self._tell_counted([one.content for one in reports])
            await self._group.acknowledge([one.entry for one in reports])
        await self._wake([one for one in reports if one.content.step in _WAKING])
        for session_id in {one.content.session_id for one in reports if one.content.step in _LEVELS}:
            self._relay.publish_soon(session_id)

    async def _store(self, reports: Sequence[_Report]) -> None:
        """Write all in one transaction or, if one of them can't be written, each in its own."""
        if len(reports) > 1:
            try:
                await self._write(reports)
            except (RedisError, *DATABASE_ERRORS) as error:
                if isinstance(error, RedisError) or not is_of_the_data(error):
                    raise
            except Exception as error:
                log.warning("reports_written_singly", reports=len(reports), error=repr(error))
            else:
                return
        for report in reports:
            await self._store_one(report)

    async def _store_one(self, report: _Report) -> None:
        try:
            await self._write([report])
        except (RedisError, *DATABASE_ERRORS) as error:
            if isinstance(error, RedisError) or not is_of_the_data(error):
                raise
            await self._set_aside(report.entry, "refused", repr(error))
        except Exception as error:  # only this report can't be written
            await self._set_aside(report.entry, "refused", repr(error))

    async def _write(self, reports: Sequence[_Report]) -> None:
        answers: list[tuple[AgentReported, AttemptRow]] = []
        async with self._database.write() as db:
            known = await lock_attempts(db, {_attempt_of(one.content) for one in reports})
            for one in reports:
                told = one.content
                with bound(session_id=told.session_id, attempt=told.attempt, room=told.room_name):
                    found = known.get(_attempt_of(told))
                    if found is None:
                        log.warning("report_of_unknown_attempt")
                        continue
                    is_news = await _apply(db, told, *found, at=one.at, now=self._now())
                if is_news and told.step in _ANSWERS:
                    answers.append((told, found[1]))
        for told, attempt in answers:
            await self._chosen_workers.answered(told, attempt, self._now())

    async def _tell_counted(self, reports: Sequence[AgentReported]) -> None:
        """Let agent workers delete counts that are recorded now, or that nothing needs."""
        try:
            await publish_counted(self._redis, [report for report in reports if report.step in _COUNTING])
        except REDIS_UNREACHABLE as error:
            log.warning("counts_not_told", error=repr(error))  # the workers will report them again

    async def _parse(self, entry: Entry) -> _Report | None:
        """Return the report; an entry that is none is set aside and acknowledged."""
        try:
            envelope = entry.envelope()
            report = envelope.event()
        except Exception as fault:
            await self._set_aside(entry, "malformed", repr(fault))
            await self._group.acknowledge([entry])
            return None
        if not isinstance(report, AgentReported):
            await self._set_aside(entry, "unexpected_type", envelope.type)
            await self._group.acknowledge([entry])
            return None
        metrics.report_received(report.step)
        return _Report(entry, report, envelope.time)

    async def _set_aside(self, entry: Entry, reason: str, detail: str) -> None:
        log.error("report_set_aside", reason=reason, detail=detail)
        metrics.report_dead_lettered(reason)
        await dead_letter(self._redis, REPORTS_STREAM, entry, f"{reason}: {detail}")

    async def _wake(self, reports: Sequence[_Report]) -> None:
        for session_id in {one.content.session_id for one in reports}:
            if not self._waker.wake(session_id):
                await give_hint(self._redis, session_id)


def _attempt_of(report: AgentReported) -> AttemptKey:
    return report.session_id, report.attempt


async def _apply(
    db: AsyncSession,
    report: AgentReported,
    row: SessionRow,
    attempt: AttemptRow,
    *,
    at: datetime,
    now: datetime,
) -> bool:
    """Write one report; return True if it is the first of its step."""
    if _is_of_another_agent(report, row) or _is_of_another_job(report, attempt):
        # Of two jobs of one attempt, the end of the one that is turned away is not our agent's end.
        log.info("report_of_extra_agent", step=str(report.step))
        return False
    _count(attempt, report, at)
    first_time = _note(attempt, report, at)
    if not first_time or report.attempt != row.attempt:
        return first_time
    if report.step in _LEVELS:
        await _reach_level(db, row, report, at=at, now=now)
    elif report.step == Step.CONNECTED and report.room_sid and report.room_sid != row.room_sid:
        await set_room_sid(db, row, report.room_sid)
    elif row.status == SessionStatus.ACTIVE and (
        report.step == Step.CLOSED or (report.step == Step.ERROR and fatal_error(attempt) is not None)
    ):
        await watch_now(db, row.id, now=now)
    return True


def _is_of_another_agent(report: AgentReported, row: SessionRow) -> bool:
    known, told = row.agent_identity, report.participant_identity
    return report.attempt == row.attempt and None not in (known, told) and known != told


def _is_of_another_job(report: AgentReported, attempt: AttemptRow) -> bool:
    told = attempt.reported_at is not None
    return told and attempt.job_id is not None and attempt.job_id != report.job_id


async def _reach_level(
    db: AsyncSession, row: SessionRow, report: AgentReported, *, at: datetime, now: datetime
) -> None:
    proof_is_pending = row.required_level == Level.READY and row.status != SessionStatus.ACTIVE
    if report.step == Step.READY and proof_is_pending:
        return  # like all reports, it is only a hint: the verifier looks and decides
    column = _DATED_BY[report.step]
    first = getattr(row, column) is None
    await record(db, row, _level_event(report), now=now, **({column: at} if first else {}))
    if first:
        seconds = (at - row.requested_at).total_seconds()
        after_commit(db, partial(level_reached, row, _LEVELS[report.step], seconds))


def _count(attempt: AttemptRow, report: AgentReported, at: datetime) -> None:
    """Record how many turns there are; the agent's own count overrides its worker's."""
    if report.step not in _COUNTING or report.turns is None:
        return
    if report.step == Step.CLOSED or attempt.expected_turns is None:
        attempt.expected_turns, attempt.counted_at = report.turns, at


def _note(attempt: AttemptRow, report: AgentReported, at: datetime) -> bool:
    """Record the report on the attempt; return False if this step was already recorded."""
    if report.step != Step.REJECTED:
        # Whoever takes the job that this worker passed on may be a worker that reports nothing.
        attempt.reported_at = attempt.reported_at or at
    if report.misplaced:
        # LiveKit has drawn this worker, and may ask the next.
        attempt.address = attempt.chosen_worker_id = None
    attempt.worker_id = report.worker_id
    attempt.job_id = report.job_id
    attempt.participant_identity = report.participant_identity or attempt.participant_identity
    attempt.participant_sid = report.participant_sid or attempt.participant_sid
    # The first fatal error is the cause; later errors mostly follow from it.
    if report.error is not None and fatal_error(attempt) is None:
        attempt.error = report.error.model_dump(mode="json")
    if report.step == Step.ACCEPTED:
        attempt.close_reason = None  # an earlier worker had passed the job on
        if attempt.rejected_at is not None:
            attempt.error = None
    elif report.reason is not None:
        attempt.close_reason, attempt.closed_in_order = report.reason, report.in_order
    dated = _DATED_BY.get(report.step)
    if dated is None:
        return True
    if getattr(attempt, dated) is not None:
        return False
    setattr(attempt, dated, at)
    return True


def _level_event(report: AgentReported) -> Event:
    if report.step == Step.ACCEPTED:
        return AgentAssigned(attempt=report.attempt, worker_id=report.worker_id, job_id=report.job_id)
    if report.step == Step.READY:
        return AgentReady(attempt=report.attempt)
    return AgentSpoke(attempt=report.attempt)
