"""Learn from what workers do with their dispatches, and tell a cause's reader what the worker did before.

The verifier calls this when it begins to wait for an attempt, proves it or gives it up, and when a worker's
answer is reported. What is learned: how soon a worker answers (answers.py), whether it works at all
(track_record.py), and whether LiveKit delivers addressed dispatches (placing.py). A Redis that is away costs
this knowledge and nothing else: dispatches and waits are then as they would be without it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from redis.asyncio import Redis

from services.verifier import metrics
from services.verifier.prove.answers import expect_answer, expect_no_more, is_overdue, note_answer
from services.verifier.prove.attempt_deadline import sent_at
from services.verifier.prove.find_cause import Finding
from shared.contracts.causes import Cause
from shared.contracts.events import AgentReported, Step
from shared.core.sessions.tables import AttemptRow
from shared.core.workers.placing import note_arrived, note_by_name, note_ignored, note_lost
from shared.core.workers.track_record import Result, note_answered, note_failed, note_joined, read_record
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

# The worker got the dispatch and did nothing. An entrypoint that raises, or a refusal, is an answer, and its
# reason is often the session's.
DID_NOTHING: Final = frozenset(
    {Cause.ASSIGNMENT_TIMEOUT, Cause.JOB_NOT_STARTED, Cause.WORKER_DIED, Cause.NEVER_CONNECTED}
)


def worker_of(attempt: AttemptRow) -> str | None:
    """Return the worker that was chosen for the attempt, or that took its job and reported so."""
    return attempt.chosen_worker_id or (attempt.worker_id if attempt.reported_at is not None else None)


class ChosenWorkers:
    """Keeps what is known of workers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def window(self, attempt: AttemptRow, *, longest: timedelta) -> timedelta | None:
        """Return how long the chosen worker's answer is worth waiting for; None if none is to come."""
        chosen = attempt.chosen_worker_id
        if attempt.address is None or chosen is None or attempt.assigned_at is not None:
            return None
        window_s = None
        async with _if_redis_answers():
            window_s = await expect_answer(
                self._redis,
                chosen,
                _name(attempt),
                since=sent_at(attempt),
                longest_s=longest.total_seconds(),
            )
        return None if window_s is None else timedelta(seconds=window_s)

    async def is_overdue(self, attempt: AttemptRow) -> bool:
        """Return whether only the chosen worker is slow to answer, and not the system as a whole."""
        overdue = False
        if attempt.chosen_worker_id is not None:
            async with _if_redis_answers():
                overdue = await is_overdue(self._redis, attempt.chosen_worker_id, since=sent_at(attempt))
        return overdue

    async def joined(self, attempt: AttemptRow) -> None:
        """Record that the agent of this attempt joined."""
        worker_id = worker_of(attempt)
        if worker_id is None:
            return
        async with _if_redis_answers():
            # Its answer may have been handled just before this attempt began to wait for it.
            await expect_no_more(self._redis, worker_id, _name(attempt))
            if await note_joined(self._redis, worker_id):
                log.info("worker_taken_back", worker_id=worker_id)

    async def failed(self, attempt: AttemptRow, finding: Finding) -> Finding:
        """Record an attempt that brought no agent; return the finding with its worker and its past."""
        cause, evidence = finding
        worker_id = worker_of(attempt)
        if worker_id is None or cause not in DID_NOTHING:
            return finding
        evidence = {"worker_id": worker_id, **evidence}
        async with _if_redis_answers():
            evidence["worker_before"] = str(await read_record(self._redis, worker_id))
            await self._note_failed(attempt, worker_id)
        return cause, evidence

    async def _note_failed(self, attempt: AttemptRow, worker_id: str) -> None:
        silent = attempt.assigned_at is None
        if silent and attempt.address is not None:
            await expect_no_more(self._redis, worker_id, _name(attempt))
            await note_lost(self._redis, worker_id)
        result = Result.SILENT if silent else Result.TAKEN
        reason = await note_failed(self._redis, worker_id, result, dispatch=_name(attempt))
        if reason is None:
            return
        metrics.worker_left_out()
        log.warning(
            "worker_left_out",
            message=f"new sessions are kept from worker {worker_id}: it {reason}",
            worker_id=worker_id,
            reason=reason,
        )

    async def answered(self, report: AgentReported, attempt: AttemptRow, now: datetime) -> None:
        """Learn from a worker's answer to an offer: `accepted` or `rejected`."""
        async with _if_redis_answers():
            if report.misplaced:
                _tell_not_placed(await note_ignored(self._redis), "ignored")
            elif attempt.address is not None:
                await self._placed_answered(attempt, now)
            elif report.step is Step.ACCEPTED:
                _tell_not_placed(await note_by_name(self._redis, report.worker_id), "dropped")

    async def _placed_answered(self, attempt: AttemptRow, now: datetime) -> None:
        worker_id = attempt.chosen_worker_id or ""
        seconds = max(0.0, (now - sent_at(attempt)).total_seconds())
        metrics.worker_answered(seconds)
        await note_answer(self._redis, worker_id, _name(attempt), since=sent_at(attempt), seconds=seconds)
        if await note_arrived(self._redis):
            log.info("placement_works_again", worker_id=worker_id)
        late = await note_answered(self._redis, worker_id, dispatch=_name(attempt))
        if late is None:
            return
        metrics.worker_answered_late()
        log.info("worker_answered_late", worker_id=worker_id, seconds=round(seconds, 3))
        if late.taken_back:
            log.info("worker_taken_back", worker_id=worker_id)


def _tell_not_placed(reason: str | None, how: str) -> None:
    if reason is None:
        return
    metrics.placement_failed(how)
    log.warning("placement_does_not_work", message=f"dispatches go by name for now: {reason}", reason=reason)


def _name(attempt: AttemptRow) -> str:
    return f"{attempt.session_id}:{attempt.number}"


@asynccontextmanager
async def _if_redis_answers() -> AsyncIterator[None]:
    try:
        yield
    except UNREACHABLE as error:
        log.debug("worker_record_not_kept", error=repr(error))
