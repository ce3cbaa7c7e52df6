"""Find out why an agent did not come: by rules that are tried in order, the surest first."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.verifier.prove import disconnect_reason as leaving
from services.verifier.prove.observe import JobSighting, Sighting
from shared.contracts.causes import Cause
from shared.contracts.events import AgentError
from shared.contracts.workers import Refusal
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.workers.registry import Fleet

# A worker's reasons after which another worker may still take the job.
PASSED_ON = frozenset(refusal for refusal in Refusal if refusal.is_of_this_worker)

# Causes that are more exact than `agent_left`.
_LEFT_BY = {
    leaving.CONNECTION_TIMEOUT: Cause.WORKER_DIED,
    leaving.SIGNAL_CLOSE: Cause.WORKER_DIED,
    leaving.JOIN_FAILURE: Cause.NEVER_CONNECTED,
    leaving.AGENT_ERROR: Cause.ENTRYPOINT_FAILED,
}
# What is more exact than that a worker turned the job down.
_REFUSED_BY: dict[str, Cause] = {
    Refusal.FULL: Cause.WORKERS_AT_CAPACITY,
    Refusal.CORDONED: Cause.WORKER_DRAINING,
}
LISTED = "its agent is listed in the room, and its media doesn't connect"
NEVER_LISTED = "a worker took the job, and its agent was never listed in the room"
SILENT = "its heartbeats come, and it did not answer the dispatch"
UNHEARD = "its heartbeats have stopped"
NOT_STARTED = "a worker took the job, and its process has not started it"

Finding = tuple[Cause, dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Everything known about an attempt without an agent, or with one that does not get ready.

    `agents_seen` are the identities of agents of the name that were in the room. `job_is_dead`: its process
    or its worker is gone. `had_worker`: a worker of ours was registered under the name when the waiting
    began. `fleet` is None if it couldn't be read. `name_is_proven`: an agent of a worker that doesn't report
    to us has joined under this name before.
    """

    session: SessionRow
    attempt: AttemptRow
    room_exists: bool
    sighting: Sighting
    job: JobSighting
    agents_seen: Set[str]
    job_is_dead: bool
    had_worker: bool
    fleet: Fleet | None
    now: datetime
    name_is_proven: bool = False


def find_cause(seen: Facts) -> Finding:
    """Return the cause from the closed list, and the evidence for it."""
    for rule in (_error, _refusal, _room, _death, _media, _stuck_worker, _registry):
        finding = rule(seen)
        if finding is not None:
            return finding
    return Cause.UNKNOWN, {"registry": "unreadable"}


def fatal_error(attempt: AttemptRow) -> AgentError | None:
    """Return the error that the attempt's worker reported, if it can't be recovered from."""
    error = None if attempt.error is None else AgentError.model_validate(attempt.error)
    return None if error is None or error.recoverable else error


def reported_error(attempt: AttemptRow) -> Finding | None:
    """Return the fault that the attempt's worker itself reported, if any.

    A warning of the agent's own code is none: the call survives it, and it names no cause.
    """
    if attempt.error is None:
        return None
    error = AgentError.model_validate(attempt.error)
    if error.recoverable and error.cause is None:
        return None
    evidence = error.model_dump(exclude_none=True, exclude={"cause", "recoverable"})
    return error.cause or Cause.ENTRYPOINT_FAILED, evidence


def cause_of_leaving(reason: str | None) -> Cause:
    """Return the cause of an agent's end from LiveKit's reason; None if there is no reason."""
    return _LEFT_BY.get(reason or "", Cause.AGENT_LEFT)


def _error(seen: Facts) -> Finding | None:
    return reported_error(seen.attempt)


def _refusal(seen: Facts) -> Finding | None:
    if seen.attempt.rejected_at is not None and seen.attempt.assigned_at is None:
        reason = seen.attempt.close_reason
        cause = _REFUSED_BY.get(reason or "", Cause.WORKER_REJECTED)
        return cause, {"worker_id": seen.attempt.worker_id, "reason": reason}
    if seen.job.refused:
        return Cause.WORKER_REJECTED, {"dispatch_id": seen.attempt.dispatch_id}
    return None


def _room(seen: Facts) -> Finding | None:
    return None if seen.room_exists else (Cause.ROOM_CLOSED, {"room_name": seen.session.room_name})


def _death(seen: Facts) -> Finding | None:
    if not seen.job_is_dead or seen.attempt.closed_at is not None:
        return None
    return Cause.WORKER_DIED, {"worker_id": seen.attempt.worker_id, "job_id": seen.attempt.job_id}


def _media(seen: Facts) -> Finding | None:
    if seen.sighting.agent is not None:
        evidence = {"participant_identity": seen.sighting.agent.identity, "reason": "not ready in time"}
        return Cause.ENTRYPOINT_FAILED, evidence
    if seen.sighting.connecting is not None:
        evidence = {"participant_identity": seen.sighting.connecting.identity, "sign": LISTED}
        return Cause.NEVER_CONNECTED, evidence
    if seen.attempt.closed_at is not None:
        return Cause.AGENT_LEFT, {"reason": seen.attempt.close_reason}
    return None


def _stuck_worker(seen: Facts) -> Finding | None:
    attempt = seen.attempt
    if attempt.reported_at is None or attempt.assigned_at is None:
        return _stuck_stranger(seen)
    evidence = {"worker_id": attempt.worker_id, "job_id": attempt.job_id}
    if attempt.entrypoint_at is None:
        waited_s = round((seen.now - attempt.assigned_at).total_seconds(), 1)
        taken_at = attempt.assigned_at.isoformat()
        return Cause.JOB_NOT_STARTED, {
            **evidence,
            "taken_at": taken_at,
            "waited_s": waited_s,
            "sign": NOT_STARTED,
        }
    return Cause.NEVER_CONNECTED, {**evidence, "sign": "its process runs, and its agent was never listed"}


def _stuck_stranger(seen: Facts) -> Finding | None:
    """Return what LiveKit alone shows of a job: its worker, and the agents of the name in the room."""
    attempt = seen.attempt
    evidence = {
        key: value for key, value in (("worker_id", attempt.worker_id), ("job_id", attempt.job_id)) if value
    }
    gone = _agent_that_left(seen)
    if gone is not None:
        if gone == attempt.participant_identity and attempt.left_reason is not None:
            evidence["reason"] = attempt.left_reason
            return cause_of_leaving(attempt.left_reason), {"participant_identity": gone, **evidence}
        return Cause.AGENT_LEFT, {"participant_identity": gone, **evidence}
    if seen.job.identity is None:
        return None
    return Cause.NEVER_CONNECTED, {
        "participant_identity": seen.job.identity,
        **evidence,
        "sign": NEVER_LISTED,
    }


def _agent_that_left(seen: Facts) -> str | None:
    """Return the cause if an agent was in the room and is gone; most likely it was the attempt's."""
    told = seen.attempt.participant_identity  # from LiveKit's webhook
    known = seen.agents_seen | {told} if told else seen.agents_seen
    gone = known - {agent.identity for agent in seen.sighting.unbound}
    return min(gone, default=None)


def _registry(seen: Facts) -> Finding | None:
    if seen.fleet is None:
        return None
    wanted = seen.session.agent_name
    pool = seen.session.pool
    workers = seen.fleet.named(wanted, pool)
    if not workers and seen.had_worker:
        return Cause.WORKER_DIED, {"agent_name": wanted, "names_seen": seen.fleet.names()}
    holders = [worker.worker_id for worker in workers if seen.session.id in worker.sessions]
    if holders:
        return Cause.JOB_NOT_STARTED, {"worker_id": holders[0], "sign": NOT_STARTED}
    if seen.attempt.chosen_worker_id is not None:
        return _silent_worker(seen.attempt.chosen_worker_id, seen.fleet)
    cause, evidence = seen.fleet.why_none(wanted, pool) or (
        Cause.ASSIGNMENT_TIMEOUT,
        {"workers": [worker.worker_id for worker in workers]},
    )
    if cause is Cause.AGENT_NAME_MISMATCH and seen.name_is_proven:
        # The name is right: the worker that has served it is gone, full or refuses, and doesn't say which.
        return Cause.NO_WORKER_REGISTERED, {"agent_name": wanted, "joined_before": True}
    return cause, evidence


def _silent_worker(chosen: str, fleet: Fleet) -> Finding:
    """Return why the one worker that got the dispatch did not take the job."""
    evidence = {"worker_id": chosen}
    if chosen in {worker.worker_id for worker in fleet.workers}:
        return Cause.ASSIGNMENT_TIMEOUT, {**evidence, "sign": SILENT}
    return Cause.WORKER_DIED, {**evidence, "sign": UNHEARD}
