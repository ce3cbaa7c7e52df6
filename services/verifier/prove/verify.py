"""Prove that the agent of a dispatched session is in the room, or find out why it isn't."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from livekit.protocol.models import ParticipantInfo
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.verifier import metrics
from services.verifier.ports import Rooms
from services.verifier.prove.attempt_deadline import AttemptDeadline, Trail
from services.verifier.prove.departure import said_goodbye
from services.verifier.prove.find_cause import Finding, Witnesses, find_cause
from services.verifier.prove.observe import Sighting, is_ready, look, look_at_job
from services.verifier.prove.proofs import Proofs
from services.verifier.reports.wake import Waker, woken_within
from services.verifier.repository import Current, Repository
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.keys import VERIFY_TASK
from shared.contracts.sessions import Level
from shared.core.admission.wait_queue import FULL
from shared.core.sessions.metrics import agent_name_seen
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import is_claimed
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to, task_span
from shared.core.workers.registry import Fleet, read_fleet
from shared.platform.clock import Clock
from shared.platform.livekit.client import LiveKitError, NotFound
from shared.platform.livekit.errors import unreachable
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import event, failed, note

log = get_logger(__name__)

FIRST_POLL_S = 0.25
POLL_FACTOR = 1.6
SLOWEST_POLL_S = 1.0
# A report of "connected" comes a few milliseconds before LiveKit shows the participant ACTIVE.
AFTER_HINT_POLL_S = 0.03
SLOWEST_POLL = timedelta(seconds=SLOWEST_POLL_S)
# The claim must outlast a look at a LiveKit that hangs.
LOOK_LIMIT = timedelta(seconds=2)
FLEET_INTERVAL = timedelta(seconds=1)
JOB_INTERVAL = timedelta(seconds=1)
# What may be over in a moment, and would be met again by an attempt made at once.
PASSING = frozenset({Cause.INFERENCE_UNAVAILABLE, Cause.INFERENCE_QUOTA})
PASSING_DELAY_S = 2.0


class Verifier:
    """Waits for agents; one per process, many sessions at once."""

    def __init__(
        self,
        *,
        repository: Repository,
        proofs: Proofs,
        rooms: Rooms,
        redis: Redis,
        relay: Relay,
        waker: Waker,
        attempt_deadline: AttemptDeadline,
        now: Clock,
    ) -> None:
        self._repository = repository
        self._proofs = proofs
        self._rooms = rooms
        self._redis = redis
        self._relay = relay
        self._waker = waker
        self._attempt_deadline = attempt_deadline
        self._now = now

    async def verify(self, case: Current) -> None:
        """Look at the room until the agent of this attempt is proven, or its time is over."""
        row = case.session
        agent_name_seen(row.agent_name)
        if is_claimed(row, self._now()):
            return
        with bound_to(row, attempt=row.attempt), task_span(VERIFY_TASK, row):
            with self._waker.waiting_for(row.id) as woken:
                async with self._repository.stoppable(row):
                    if not await self._repository.claim(row):
                        return
                    log.info("verification_started", message=f"verifying agent joined room {row.room_name}")
                    await self._wait_for_agent(case, woken)
            self._relay.nudge(row.id)

    async def _wait_for_agent(self, case: Current, woken: asyncio.Event) -> None:
        """Look again and again, until one of these is true.

        1. Wait: for a hint that names the session, or for the next poll, whichever comes first.
        2. Look at the room. The agent has proven what the session requires: done.
        3. Read the session again. Somebody else changed it: done.
        4. The agent came and left as it meant to: done; the watch ends the session.
        5. The caller is gone: cancel the session.
        6. The attempt's time is over: name the cause, and try again or give up.
        7. Renew the claim, and begin again.
        """
        trail = Trail()
        await self._read_fleet_into(trail, case)
        # A worker of ours tells us when it is worth a look, and each look is a call to LiveKit.
        pause = SLOWEST_POLL_S if trail.had_worker else FIRST_POLL_S
        if case.attempt.connected_at is not None:
            woken.set()
        while True:
            left_s = (case.session.deadline_at - self._now()).total_seconds()
            hinted = await woken_within(woken, min(pause, max(left_s, AFTER_HINT_POLL_S)))
            pause = AFTER_HINT_POLL_S if hinted else min(pause * POLL_FACTOR, SLOWEST_POLL_S)
            await self._look(case, trail)
            event(names.POLL, partial(trail.as_attributes, hinted=hinted))
            if await self._is_proven(case, trail, trail.sighting.agent):
                return
            fresh = await self._repository.read(case.session.id)
            if fresh is None or fresh.session.version != case.session.version:
                return  # ended by request, or another verifier has it
            case = fresh
            if said_goodbye(case.attempt) and await self._is_proven(case, trail, _who_left(case, trail)):
                return  # it came and has left again as it meant to: the watch ends the session
            now = self._now()
            if self._attempt_deadline.caller_is_gone(trail, now):
                await self._caller_left(case, trail)
                return
            if self._attempt_deadline.is_over(case, trail, now):
                await self._rule(case, trail)
                return
            if not await self._keep_claim(case.session):
                return

    async def _look(self, case: Current, trail: Trail) -> None:
        """Look at the room; a LiveKit that doesn't answer is remembered, not a verdict."""
        try:
            async with asyncio.timeout(LOOK_LIMIT.total_seconds()):
                await self._look_at_room(case, trail)
            await self._repository.note_callers(case.session, trail.sighting.callers)
            trail.note_callers(self._now(), joined_before=case.session.caller_joined_at is not None)
            trail.livekit_error = None
        except LiveKitError as error:
            trail.livekit_error = error
        except TimeoutError as error:
            trail.livekit_error = unreachable("look", error)
        if trail.fleet_read_at is None or self._now() - trail.fleet_read_at >= FLEET_INTERVAL:
            await self._read_fleet_into(trail, case)

    async def _look_at_room(self, case: Current, trail: Trail) -> None:
        row, dispatch_id = case.session, case.attempt.dispatch_id
        trail.note_sighting(await look(row, rooms=self._rooms, job=trail.job), self._now())
        if dispatch_id is None or trail.sighting.agent is not None or not self._job_is_due(case, trail):
            return
        trail.job_asked_at = self._now()
        # To ask for the dispatches of a room that is gone takes 3 s, and looks like an outage.
        trail.room_gone = not (trail.sighting.participants or await self._rooms.room_exists(row.room_name))
        if trail.room_gone:
            return
        trail.job = await look_at_job(row, dispatch_id, rooms=self._rooms)
        if trail.job.identity:
            await self._proofs.assigned(case, trail.job)
            trail.note_sighting(await look(row, rooms=self._rooms, job=trail.job), self._now())

    def _job_is_due(self, case: Current, trail: Trail) -> bool:
        """Is it worth asking LiveKit for the job? Our own workers tell us themselves, and sooner."""
        now = self._now()
        if case.attempt.reported_at is not None or trail.job.identity is not None:
            return False
        if trail.job_asked_at is not None and now - trail.job_asked_at < JOB_INTERVAL:
            return False
        age = now - (case.attempt.accepted_at or case.attempt.started_at)
        it_came = bool(trail.sighting.unbound) or case.attempt.left_at is not None
        return it_came or age >= self._attempt_deadline.window - JOB_INTERVAL

    async def _keep_claim(self, row: SessionRow) -> bool:
        lease_left = (row.claimed_until or self._now()) - self._now()
        return lease_left > LOOK_LIMIT + SLOWEST_POLL or await self._repository.claim(row)

    async def _is_proven(self, case: Current, trail: Trail, agent: ParticipantInfo | None) -> bool:
        """Write down what the agent has proven; True if that is what the session requires."""
        row = case.session
        if agent is None:
            return False
        if row.required_level == Level.READY and not (case.attempt.ready_at or is_ready(agent)):
            await self._proofs.seen(case, agent)
            return False
        seconds = await self._proofs.joined(case, agent)
        if seconds is not None:
            note({names.OUTCOME: "joined", names.JOIN_SECONDS: seconds})
            log.info(
                "agent_verified",
                message=f"agent verified in room {row.room_name}: {agent.identity} (SID: {agent.sid})",
                participant_identity=agent.identity,
                participant_sid=agent.sid,
                join_seconds=round(seconds, 3),
            )
            await self.remove_extra(row, trail.sighting)
        return True

    async def remove_extra(self, row: SessionRow, sighting: Sighting) -> None:
        """Take agents that should not be there out of the room."""
        await self._tell_of_foreign(row, sighting)
        for extra in sighting.extra:
            log.warning("extra_agent_found", participant_identity=extra.identity)
            try:
                await self._rooms.remove_participant(row.room_name, extra.identity)
            except NotFound:
                continue
            except LiveKitError as error:
                log.warning("extra_agent_not_removed", error=str(error))
                continue
            metrics.extra_agent_removed()
            await self._repository.extra_removed(row, extra.identity)

    async def _tell_of_foreign(self, row: SessionRow, sighting: Sighting) -> None:
        """Agents that nobody dispatched: out of a room that we have named, and told of in any."""
        for agent in sighting.foreign:
            removed = row.room_is_ours
            try:
                if removed:
                    await self._rooms.remove_participant(row.room_name, agent.identity)
            except NotFound:
                pass  # the dispatcher has withdrawn it
            except LiveKitError as error:
                removed = False
                log.warning("foreign_agent_not_removed", error=str(error))
            await self._repository.foreign_agent_seen(row, agent.identity, removed=removed)

    async def _caller_left(self, case: Current, trail: Trail) -> None:
        row = case.session
        cause, evidence = await self._finding(case, trail)
        if await self._repository.caller_left(row, {"agent_missing": cause, **evidence}):
            metrics.session_abandoned()
            note({names.OUTCOME: "caller_left"})
            log.info("caller_left_early", agent_missing=str(cause))

    async def _rule(self, case: Current, trail: Trail) -> None:
        """No agent: another attempt if one is left, else the critical event."""
        row = case.session
        cause, evidence = await self._finding(case, trail)
        if row.attempt >= row.max_attempts or self._now() >= row.deadline_at:
            cause, evidence = await self._repository.surest(row, cause, evidence)
        worth_it = trail.livekit_error is None or trail.livekit_error.retryable
        # To find a worker full is no try: the session waits in line as long as its budget lasts.
        tries_left = row.attempt < row.max_attempts or cause in FULL
        if tries_left and self._now() < row.deadline_at and worth_it:
            delay = timedelta(seconds=PASSING_DELAY_S if cause in PASSING else 0)
            if await self._repository.missing(case, cause, evidence, delay=delay):
                metrics.agent_missing(cause)
                failed(cause, {names.OUTCOME: "missing", names.CAUSE: cause})
                log.warning(
                    "agent_missing",
                    message=f"agent did not join room {row.room_name}, dispatching again"
                    if row.active_at is None
                    else f"no agent to replace the lost one joined room {row.room_name}, dispatching again",
                    cause=str(cause),
                    evidence=evidence,
                )
            return
        await self.give_up(row, cause, evidence)

    async def give_up(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> None:
        """The critical event: there is no agent, and none will come."""
        if not await self._repository.failed(row, cause, evidence):
            return
        failed(cause, {names.OUTCOME: "given_up", names.CAUSE: cause})
        if row.active_at is not None:
            log.critical(
                "agent_not_replaced",
                message=f"CRITICAL: agent lost from room {row.room_name}, and none takes its place",
                revivals=row.revivals,
                cause=str(cause),
                evidence=evidence,
                advice=ADVICE[cause],
            )
            return
        log.critical(
            "agent_did_not_join",
            message=f"CRITICAL: agent dispatch succeeded but agent did not join room {row.room_name}"
            if row.accepted_at
            else f"CRITICAL: no agent came to room {row.room_name}",
            cause=str(cause),
            evidence=evidence,
            advice=ADVICE[cause],
        )

    async def _finding(self, case: Current, trail: Trail) -> Finding:
        if trail.livekit_error is not None:
            return trail.livekit_error.cause, trail.livekit_error.evidence
        try:
            room_exists = await self._rooms.room_exists(case.session.room_name)
        except LiveKitError as error:
            return error.cause, error.evidence
        fleet = await self._read_fleet()
        return find_cause(
            Witnesses(
                session=case.session,
                attempt=case.attempt,
                room_exists=room_exists,
                sighting=trail.sighting,
                job=trail.job,
                agents_seen=trail.agents_seen.keys(),
                job_is_dead=self._attempt_deadline.job_is_dead(case, trail, self._now()),
                had_worker=bool(trail.had_worker),
                fleet=fleet,
                now=self._now(),
                name_is_proven=await self._name_is_proven(case.session.agent_name, fleet),
            )
        )

    async def _name_is_proven(self, agent_name: str, fleet: Fleet | None) -> bool:
        why = None if fleet is None else fleet.why_none(agent_name)
        # Only a mismatch depends on it, and it takes a query.
        mismatch = why is not None and why[0] is Cause.AGENT_NAME_MISMATCH
        return mismatch and await self._repository.name_is_proven(agent_name)

    async def _read_fleet_into(self, trail: Trail, case: Current) -> None:
        trail.note_fleet(await self._read_fleet(), case, self._now())

    async def _read_fleet(self) -> Fleet | None:
        try:
            return await read_fleet(self._redis)
        except (RedisError, OSError):
            return None


def _who_left(case: Current, trail: Trail) -> ParticipantInfo | None:
    """The attempt's agent that has left; None unless a look has bound it to the attempt.

    LiveKit's webhook says that an agent has joined only once it is ACTIVE. Whose it was, a look says: it
    was listed, or LiveKit shows it as that of our dispatch.
    """
    attempt, identity = case.attempt, case.attempt.participant_identity or ""
    if attempt.arrived_at is not None and identity == trail.job.identity:
        return ParticipantInfo(identity=identity, sid=attempt.participant_sid or "")
    return trail.agents_seen.get(identity)
