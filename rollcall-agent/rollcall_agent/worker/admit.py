"""Decide whether this worker takes a job that LiveKit offers."""

import math
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import AssignmentTimeoutError
from livekit.agents.job import JobRequest
from livekit.protocol.agent import Job

from rollcall_agent import metrics
from rollcall_agent.job.diagnose import diagnose
from rollcall_agent.ports import Fences, Outbox, Worker
from rollcall_agent.qualification import Qualification
from rollcall_agent.report import JobFacts, Reporter
from shared.contracts.causes import Cause
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Step
from shared.contracts.identifiers import SessionId
from shared.contracts.workers import Refusal
from shared.platform.logs.logs import bound, get_logger
from shared.platform.tracing.tracing import trace_fields

# While all workers report its `target_load` of 0.7 or more, LiveKit silently drops a job, and workers report
# their load only every 2.5 s. So even a full worker reports less, and rejects jobs itself.
BELOW_TARGET_LOAD = 0.69
# Another job has the attempt; see shared/core/workers/fence.py.
SECOND: Final = "second_job"

log = get_logger(__name__)


class MalformedOrder(ValueError):
    """A job's order can't be read."""


def read_order(job: Job) -> DispatchOrder | None:
    """Return the order of a job; None if Rollcall did not dispatch it.

    Raises `MalformedOrder` for an order that can't be read.
    """
    try:
        return DispatchOrder.of_job(attributes=job.attributes, metadata=job.metadata)
    except ValueError as invalid:
        raise MalformedOrder(str(invalid)) from invalid


def log_fields(order: DispatchOrder | None) -> dict[str, Any]:
    """Return the fields for each log line of a job; none if Rollcall did not dispatch it."""
    if order is None:
        return {}
    return {"session_id": order.session_id, "attempt": order.attempt, **trace_fields(order.traceparent)}


def reported_load(active: int, maximum: int) -> float:
    """Return the load to report to LiveKit, which prefers workers with a lower load."""
    return BELOW_TARGET_LOAD * min(1.0, active / maximum)


class Admission:
    """Answers LiveKit's offers, and counts jobs that are accepted but not running yet."""

    def __init__(
        self,
        *,
        worker: Worker,
        max_jobs: int,
        fences: Fences,
        outbox: Outbox,
        qualification: Qualification,
        cordoned: Callable[[], bool],
        came_by: Callable[[str], str | None],
        meet: Callable[[DispatchOrder], None],
    ) -> None:
        self._worker = worker
        self._max_jobs = max_jobs
        self._fences = fences
        self._outbox = outbox
        self._qualification = qualification
        self._cordoned = cordoned
        self._came_by = came_by  # the address under which LiveKit offered a job
        self._meet = meet  # before the outbox is offered reports of an order's attempt
        self._pending: set[str] = set()
        self._sessions: dict[str, SessionId] = {}  # the sessions of accepted jobs, by job

    @property
    def active_jobs(self) -> int:
        """The number of taken slots."""
        return len(self._jobs())

    @property
    def sessions(self) -> tuple[SessionId, ...]:
        """The sessions whose job is accepted and has not ended."""
        jobs = self._jobs()
        return tuple(session_id for job_id, session_id in self._sessions.items() if job_id in jobs)

    def load(self) -> float:
        """The load to report to LiveKit."""
        return BELOW_TARGET_LOAD if self._cordoned() else reported_load(self.active_jobs, self._max_jobs)

    async def answer(self, request: JobRequest) -> None:
        """Accept or reject the offered job."""
        facts = JobFacts.of_request(request, worker_id=self._worker.id)
        with bound(job_id=facts.job_id, room=facts.room_name, dispatch_id=request.job.dispatch_id):
            refusal = self._refusal()
            if refusal is not None:
                await self._pass_on(request, facts, refusal)
                return
            self._pending.add(facts.job_id)
            try:
                await self._answer(request, facts)
            finally:
                self._pending.discard(facts.job_id)

    def _jobs(self) -> set[str]:
        # A job is in both sets while its process starts.
        return self._pending | {info.job.id for info in self._worker.active_jobs}

    def _refusal(self) -> Refusal | None:
        if self._cordoned():
            return Refusal.CORDONED
        return Refusal.FULL if self.active_jobs >= self._max_jobs else None

    async def _pass_on(self, request: JobRequest, facts: JobFacts, refusal: Refusal) -> None:
        await request.reject(terminate=False)  # LiveKit asks the next worker
        metrics.job_offered(refusal)
        log.warning("job_rejected", reason=refusal, max_jobs=self._max_jobs)
        try:
            order = read_order(request.job)
        except MalformedOrder:
            return
        misplaced = self._is_misplaced(request.id, order)
        self._reporter(order, facts).step(Step.REJECTED, reason=refusal, misplaced=misplaced)

    async def _answer(self, request: JobRequest, facts: JobFacts) -> None:
        try:
            order = read_order(request.job)
        except MalformedOrder as malformed:
            await request.reject(terminate=False)  # a worker of another version may be able to read the order
            metrics.job_offered("malformed")
            log.warning("job_rejected", reason="malformed_order", error=str(malformed))
            return
        with bound(**log_fields(order)):
            await self._weigh(request, order, facts)

    async def _weigh(self, request: JobRequest, order: DispatchOrder | None, facts: JobFacts) -> None:
        reporter = self._reporter(order, facts)
        if order is not None and await self._fences.is_late(order):
            await request.reject(terminate=True)
            metrics.job_offered(Refusal.LATE)
            log.info("job_rejected", reason=Refusal.LATE)
            reporter.step(Step.REJECTED, reason=Refusal.LATE)
            return
        if order is not None and await self._fences.is_second(order, request.id):
            await request.reject(terminate=True)
            metrics.job_offered(SECOND)
            # Not reported: the attempt has its agent, and this job is not that agent's.
            log.warning("job_rejected", reason=SECOND)
            return
        objection = await self._qualification.objection(order)
        if objection is not None:
            await request.reject(terminate=objection.for_all)
            metrics.job_offered(objection.reason)
            error = objection.error
            log.warning(
                "job_rejected",
                reason=objection.reason,
                error_type=error.type,
                error=error.message,
                cause=error.cause,
                descriptor=error.descriptor,
            )
            reporter.step(Step.REJECTED, reason=objection.reason, error=error)
            return
        await self._accept(request, order, reporter)

    async def _accept(self, request: JobRequest, order: DispatchOrder | None, reporter: Reporter) -> None:
        self._remember(request.id, order)
        # Reported before LiveKit confirms, because accept() returns only when the job's process has the job.
        reporter.step(Step.ACCEPTED, misplaced=self._is_misplaced(request.id, order))
        try:
            await request.accept(attributes=order.attributes() if order else None)
        except Exception as failure:
            metrics.job_offered("not_assigned")
            # Either LiveKit has not confirmed the answer, or no process could be started for the job.
            unconfirmed = isinstance(failure, AssignmentTimeoutError)
            cause = Cause.ASSIGNMENT_TIMEOUT if unconfirmed else Cause.JOB_NOT_STARTED
            reporter.error(diagnose(failure).model_copy(update={"cause": cause}))
            log.warning("job_not_started", exc_info=True)  # another attempt follows
            return
        metrics.job_offered("accepted")
        log.info("job_accepted")

    def _is_misplaced(self, job_id: str, order: DispatchOrder | None) -> bool:
        """True if the job was addressed to one worker, and LiveKit sought any of the name for it."""
        address = order and order.address
        return address is not None and address != self._came_by(job_id)

    def _remember(self, job_id: str, order: DispatchOrder | None) -> None:
        jobs = self._jobs()
        self._sessions = {known: session for known, session in self._sessions.items() if known in jobs}
        if order is not None:
            self._sessions[job_id] = order.session_id

    def _reporter(self, order: DispatchOrder | None, facts: JobFacts) -> Reporter:
        if order is not None:
            self._meet(order)
        return Reporter(order=order, facts=facts, outbox=self._outbox)


NO_THRESHOLD = math.inf  # the worker's own threshold would drop jobs of a burst; `answer` keeps the limit
