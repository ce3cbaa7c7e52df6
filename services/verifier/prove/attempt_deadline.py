"""Decide how long to wait for an attempt.

A worker of ours reports within milliseconds that it took the job, and its job beats. A worker that doesn't
report to us shows only as a participant, or as a job that LiveKit lists up to 5.2 s late.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livekit.protocol.models import ParticipantInfo

from services.verifier.liveness import Liveness
from services.verifier.prove.find_cause import PASSED_ON, fatal_error
from services.verifier.prove.observe import JobSighting, Sighting
from services.verifier.repository import Current
from shared.core.sessions.tables import AttemptRow
from shared.core.workers.registry import HEARTBEAT_EXPIRY_S, Fleet
from shared.platform.livekit.client import LiveKitError, is_active
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Attributes

# LiveKit asks the next worker within milliseconds of a refusal.
PASSING_ON = timedelta(seconds=1)
# An agent of the right name is in the room; it is very likely this attempt's, once LiveKit shows its job.
UNBOUND_PATIENCE = timedelta(seconds=2)
# A worker's heartbeat lists the session within moments of taking its job, and drops it when the job's process
# ends. The job's last report may come a little later.
DROPPED_FOR = timedelta(seconds=1)
# A caller whose connection broke reconnects sooner than this.
CALLER_GRACE = timedelta(seconds=2)
# An agent that was listed, and then is missing twice in a row, has left.
GONE_FOR = timedelta(seconds=1)


@dataclass
class Observations:
    """What the verifier has seen while it waits for one attempt. `fleet` is None while it can't be read."""

    sighting: Sighting = field(default_factory=Sighting)
    job: JobSighting = field(default_factory=JobSighting)
    job_asked_at: datetime | None = None
    agents_seen: dict[str, ParticipantInfo] = field(default_factory=dict)  # ACTIVE agents of the name
    agent_gone_at: datetime | None = None  # since when none of them is in the room
    room_gone: bool = False
    fleet: Fleet | None = None
    fleet_read_at: datetime | None = None
    had_worker: bool | None = None  # at the first reading of the registry
    # whether workers that report nothing serve the name; None: it did not matter yet
    others_serve: bool | None = None
    window: timedelta | None = None  # in which the chosen worker answers, by its history
    overdue: bool = False  # it does not, and the system as a whole is not slow
    dropped_at: datetime | None = None  # since when its worker no longer lists the session
    caller_seen: bool = False
    caller_gone_at: datetime | None = None
    livekit_error: LiveKitError | None = None

    def note_sighting(self, sighting: Sighting, now: datetime) -> None:
        """Record a look at the room, and its agents."""
        self.sighting = sighting
        present = [*sighting.unbound, *filter(None, (sighting.agent, sighting.connecting))]
        self.agents_seen |= {agent.identity: agent for agent in present if is_active(agent)}
        gone = bool(self.agents_seen) and not present
        self.agent_gone_at = (self.agent_gone_at or now) if gone else None

    def note_callers(self, now: datetime, *, joined_before: bool) -> None:
        """Record whether a caller is in the room, or since when none is."""
        self.caller_seen = self.caller_seen or joined_before
        if self.sighting.callers:
            self.caller_seen, self.caller_gone_at = True, None
        elif self.caller_seen and self.caller_gone_at is None:
            self.caller_gone_at = now

    def note_fleet(self, fleet: Fleet | None, current: Current, now: datetime) -> None:
        """Record a reading of the registry."""
        row, attempt = current.session, current.attempt
        self.fleet, self.fleet_read_at = fleet, now
        if fleet is None:
            self.dropped_at = None
            return
        if self.had_worker is None:
            self.had_worker = bool(fleet.named(row.agent_name, row.pool))
        if attempt.reported_at is None or row.id in fleet.sessions(row.agent_name):
            self.dropped_at = None
        else:
            self.dropped_at = self.dropped_at or now

    def as_attributes(self, *, hinted: bool) -> Attributes:
        """Return the newest look as attributes of the verification's span."""
        sighting = self.sighting
        return {
            names.POLL_HINTED: hinted,
            names.POLL_AGENT: "active" if sighting.agent else "connecting" if sighting.connecting else "none",
            names.POLL_PARTICIPANTS: sighting.participants,
            names.ERROR_TYPE: self.livekit_error.cause if self.livekit_error else None,
        }


class AttemptDeadline:
    """Decides when an attempt is over.

    `window_s` is the time without any sign of life. `own_window_s` is the time for a worker of ours to take
    the job; the chosen one may have less, by its history (`Observations.window`). `start_window_s` is the
    time from taking the job until its process runs our code, or until the agent of a worker that doesn't
    report to us is listed in the room.
    """

    def __init__(
        self, *, window_s: float, own_window_s: float, start_window_s: float, liveness: Liveness
    ) -> None:
        self.window = timedelta(seconds=window_s)
        self.own_window = timedelta(seconds=own_window_s)
        self._start_window = timedelta(seconds=start_window_s)
        self._liveness = liveness

    def caller_is_gone(self, observed: Observations, now: datetime) -> bool:
        """Return whether the caller was in the room and has hung up."""
        return observed.caller_gone_at is not None and now - observed.caller_gone_at >= CALLER_GRACE

    def job_is_dead(self, current: Current, observed: Observations, now: datetime) -> bool:
        """Return whether the job that a worker took is dead: its process or its worker is gone."""
        row, attempt = current.session, current.attempt
        if self._liveness.is_silent(row.id, row.attempt, is_ready=attempt.ready_at is not None):
            return True
        if observed.fleet is None or observed.dropped_at is None or now - observed.dropped_at < DROPPED_FOR:
            return False
        # A missing worker may only have lost its Redis, but a worker with heartbeats knows its jobs.
        lives = attempt.worker_id in {worker.worker_id for worker in observed.fleet.workers}
        return lives or self._liveness.steady_for(HEARTBEAT_EXPIRY_S)

    def is_over(self, current: Current, observed: Observations, now: datetime) -> bool:
        """Return whether to stop waiting for this attempt."""
        row, attempt = current.session, current.attempt
        if now >= row.deadline_at:
            return True
        if observed.livekit_error is not None:
            return not observed.livekit_error.retryable
        if (
            _has_failed(attempt)
            or self._turned_down(attempt, observed, now)
            or attempt.closed_at is not None
            or observed.job.refused
            or observed.room_gone
            or self.job_is_dead(current, observed, now)
        ):
            return True
        # An agent in the room may use the rest of the budget to get ready.
        if observed.sighting.agent is not None or observed.sighting.connecting is not None:
            return False
        if attempt.reported_at is not None and attempt.assigned_at is not None:
            return attempt.entrypoint_at is None and now - attempt.assigned_at >= self._start_window
        return self._stranger_is_over(current, observed, now)

    def _turned_down(self, attempt: AttemptRow, observed: Observations, now: datetime) -> bool:
        """Return whether no worker will take the job any more."""
        if attempt.rejected_at is None or attempt.assigned_at is not None:
            return False
        if attempt.address is not None:
            return True  # LiveKit has no other worker to ask
        # A worker that reports nothing shows only by its agent, which takes its time to come.
        patience = self.window if observed.others_serve else PASSING_ON
        return attempt.close_reason not in PASSED_ON or now - attempt.rejected_at >= patience

    def _stranger_is_over(self, current: Current, observed: Observations, now: datetime) -> bool:
        """Return the same for an attempt whose job no worker has reported."""
        row, attempt = current.session, current.attempt
        if observed.job.identity is not None and observed.job.identity == attempt.participant_identity:
            # the agent may have come and gone between two looks
            gone_at = attempt.left_at or observed.agent_gone_at
        else:
            gone_at = observed.agent_gone_at
        if gone_at is not None and now - gone_at >= GONE_FOR:
            return True
        if observed.job.identity is None:
            return self._nobody_took_it(current, observed, now)
        taken_at = attempt.assigned_at or attempt.accepted_at or attempt.started_at
        return row.attempt < row.max_attempts and now - taken_at >= self._start_window

    def _nobody_took_it(self, current: Current, observed: Observations, now: datetime) -> bool:
        row, attempt = current.session, current.attempt
        waited = now - sent_at(attempt)
        ours = observed.fleet.named(row.agent_name, row.pool) if observed.fleet is not None else []
        free = any(worker.free_slots for worker in ours)
        if observed.fleet is not None and row.id in observed.fleet.sessions(row.agent_name):
            # A worker has the job, and its report is late.
            return waited >= self.own_window + self._start_window
        more = UNBOUND_PATIENCE if observed.sighting.unbound else timedelta()
        if attempt.address is not None and observed.fleet is not None:
            # It was sent to this worker alone.
            return waited >= self.own_window + more or self._ends_early(current, observed, waited - more)
        if free and observed.had_worker is False and row.attempt < row.max_attempts:
            return True  # the worker came after the dispatch, and LiveKit keeps no queue
        if free and observed.had_worker and waited >= self.own_window + more:
            return True
        return row.attempt < row.max_attempts and waited >= self.window + more

    def left_of_window(self, current: Current, observed: Observations, now: datetime) -> timedelta | None:
        """Return how long the chosen worker still has, by its history; None if that is over, or not known."""
        if observed.window is None or current.attempt.assigned_at is not None:
            return None
        left = sent_at(current.attempt) + observed.window - now
        return left if left > timedelta() else None

    def may_end_early(self, current: Current, observed: Observations, now: datetime) -> bool:
        """Return whether it is time to ask if the chosen worker is `overdue`."""
        attempt = current.attempt
        unanswered = attempt.assigned_at is None and attempt.rejected_at is None
        waited = now - sent_at(attempt)
        return observed.window is not None and unanswered and observed.window <= waited < self.own_window

    def _ends_early(self, current: Current, observed: Observations, waited: timedelta) -> bool:
        """Return whether another attempt is worth more than waiting on for the chosen worker's answer."""
        row, attempt = current.session, current.attempt
        if not observed.overdue or observed.window is None or observed.fleet is None:
            return False
        others = [
            worker
            for worker in observed.fleet.named(row.agent_name, row.pool)
            if worker.worker_id != attempt.chosen_worker_id and worker.free_slots
        ]
        return bool(others) and row.attempt < row.max_attempts and waited >= observed.window


def sent_at(attempt: AttemptRow) -> datetime:
    """Return when LiveKit took the dispatch, or when it was about to."""
    return attempt.accepted_at or attempt.started_at


def _has_failed(attempt: AttemptRow) -> bool:
    return fatal_error(attempt) is not None and not is_passed_on(attempt)


def is_passed_on(attempt: AttemptRow) -> bool:
    """Return whether a worker passed the job on to the next one, and none has taken it yet."""
    turned_down = attempt.rejected_at is not None and attempt.assigned_at is None
    return turned_down and attempt.close_reason in PASSED_ON
