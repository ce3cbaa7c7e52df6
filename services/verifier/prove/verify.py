"""Prove that the agent of a dispatched session is in the room, or find out why it isn't."""

import asyncio
from datetime import timedelta
from functools import partial

from livekit.protocol.models import ParticipantInfo
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.verifier import metrics
from services.verifier.extra_agents import remove_extra_agents
from services.verifier.give_up import give_up
from services.verifier.pools.revival_pool import evidence_of_move, pool_for_revival
from services.verifier.ports import Rooms
from services.verifier.prove.attempt_deadline import AttemptDeadline, Observations, is_passed_on
from services.verifier.prove.chosen_worker import ChosenWorkers
from services.verifier.prove.departure import said_goodbye
from services.verifier.prove.find_cause import Facts, Finding, find_cause
from services.verifier.prove.observe import is_ready, look_at_job, look_at_room
from services.verifier.prove.proofs import Proofs
from services.verifier.repository import Current, Repository
from services.verifier.wake import Waker, woken_within
from shared.contracts.causes import Cause
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
from shared.platform.livekit.client import LiveKitError
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
# Causes that may pass in a moment, but that an immediate attempt would meet again.
PASSING = frozenset({Cause.INFERENCE_UNAVAILABLE, Cause.INFERENCE_QUOTA})
PASSING_DELAY_S = 2.0


class Verifier:
    """Waits for agents; a process has one, for many sessions at once."""

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
        self._chosen_workers = ChosenWorkers(redis)
        self._now = now

    async def verify(self, current: Current) -> None:
        """Look at the room until the agent of this attempt is proven, or its time is over."""
        row = current.session
        agent_name_seen(row.agent_name)
        if is_claimed(row, self._now()):
            return
        with bound_to(row, attempt=row.attempt), task_span(VERIFY_TASK, row):
            with self._waker.waiting_for(row.id) as woken:
                async with self._repository.stoppable(row):
                    if not await self._repository.claim(row):
                        return
                    log.info("verification_started", message=f"verifying agent joined room {row.room_name}")
                    await self._wait_for_agent(current, woken)
            self._relay.publish_soon(row.id)

    async def _wait_for_agent(self, current: Current, woken: asyncio.Event) -> None:
        """Look again and again, until one of these is true.

        1. Wait: for a hint that names the session, or for the next poll, whichever comes first.
        2. Look at the room. The agent has proven what the session requires: done.
        3. Read the session again. Somebody else changed it: done.
        4. The agent came and left as it meant to: done; the watch ends the session.
        5. The caller is gone: cancel the session.
        6. The attempt's time is over: name the cause, and try again or give up.
        7. Renew the claim, and begin again.
        """
        observed = Observations()
        await self._read_fleet_into(observed, current)
        observed.window = await self._chosen_workers.window(
            current.attempt, longest=self._attempt_deadline.own_window
        )
        # A worker of ours reports when a look is worthwhile, and each look is a call to LiveKit.
        pause = SLOWEST_POLL_S if observed.had_worker else FIRST_POLL_S
        if current.attempt.connected_at is not None:
            woken.set()
        while True:
            left_s = self._left_s(current, observed)
            hinted = await woken_within(woken, min(pause, max(left_s, AFTER_HINT_POLL_S)))
            pause = AFTER_HINT_POLL_S if hinted else min(pause * POLL_FACTOR, SLOWEST_POLL_S)
            await self._look(current, observed)
            event(names.POLL, partial(observed.as_attributes, hinted=hinted))
            if await self._is_proven(current, observed, observed.sighting.agent):
                return
            fresh = await self._repository.read(current.session.id)
            if fresh is None or fresh.session.version != current.session.version:
                return  # it was ended by request, or another verifier has it
            current = fresh
            await self._read_others_into(observed, current)
            if said_goodbye(current.attempt) and await self._is_proven(
                current, observed, _who_left(current, observed)
            ):
                return  # the agent came and left on purpose: the watch ends the session
            now = self._now()
            if self._attempt_deadline.caller_is_gone(observed, now):
                await self._caller_left(current, observed)
                return
            await self._read_answers_into(observed, current)
            if self._attempt_deadline.is_over(current, observed, now):
                await self._rule(current, observed)
                return
            if not await self._keep_claim(current.session):
                return

    def _left_s(self, current: Current, observed: Observations) -> float:
        """Return the seconds until the next time at which the attempt may be over, whatever is seen."""
        now = self._now()
        window = self._attempt_deadline.left_of_window(current, observed, now)
        left = current.session.deadline_at - now
        return (left if window is None else min(left, window)).total_seconds()

    async def _look(self, current: Current, observed: Observations) -> None:
        """Look at the room. If LiveKit doesn't answer, record that; it is not a verdict."""
        try:
            async with asyncio.timeout(LOOK_LIMIT.total_seconds()):
                await self._look_at_room(current, observed)
            await self._repository.note_callers(current.session, observed.sighting.callers)
            observed.note_callers(self._now(), joined_before=current.session.caller_joined_at is not None)
            observed.livekit_error = None
        except LiveKitError as error:
            observed.livekit_error = error
        except TimeoutError as error:
            observed.livekit_error = unreachable("look", error)
        if observed.fleet_read_at is None or self._now() - observed.fleet_read_at >= FLEET_INTERVAL:
            await self._read_fleet_into(observed, current)

    async def _look_at_room(self, current: Current, observed: Observations) -> None:
        row, dispatch_id = current.session, current.attempt.dispatch_id
        observed.note_sighting(await look_at_room(row, rooms=self._rooms, job=observed.job), self._now())
        if (
            dispatch_id is None
            or observed.sighting.agent is not None
            or not self._job_is_due(current, observed)
        ):
            return
        observed.job_asked_at = self._now()
        # Asking for the dispatches of a missing room takes 3 s, and looks like an outage.
        observed.room_gone = not (
            observed.sighting.participants or await self._rooms.room_exists(row.room_name)
        )
        if observed.room_gone:
            return
        observed.job = await look_at_job(row, dispatch_id, rooms=self._rooms)
        if observed.job.identity:
            await self._proofs.assigned(current, observed.job)
            observed.note_sighting(await look_at_room(row, rooms=self._rooms, job=observed.job), self._now())

    def _job_is_due(self, current: Current, observed: Observations) -> bool:
        """Return whether to ask LiveKit for the job. Our own workers report it themselves, and sooner."""
        now = self._now()
        if current.attempt.reported_at is not None or observed.job.identity is not None:
            return False
        if observed.job_asked_at is not None and now - observed.job_asked_at < JOB_INTERVAL:
            return False
        age = now - (current.attempt.accepted_at or current.attempt.started_at)
        it_came = bool(observed.sighting.unbound) or current.attempt.left_at is not None
        return it_came or age >= self._attempt_deadline.window - JOB_INTERVAL

    async def _keep_claim(self, row: SessionRow) -> bool:
        lease_left = (row.claimed_until or self._now()) - self._now()
        return lease_left > LOOK_LIMIT + SLOWEST_POLL or await self._repository.claim(row)

    async def _is_proven(
        self, current: Current, observed: Observations, agent: ParticipantInfo | None
    ) -> bool:
        """Record what the agent has proven; return True if that is what the session requires."""
        row = current.session
        if agent is None:
            return False
        if row.required_level == Level.READY and not (current.attempt.ready_at or is_ready(agent)):
            await self._proofs.seen(current, agent)
            return False
        seconds = await self._proofs.joined(current, agent)
        if seconds is not None:
            note({names.OUTCOME: "joined", names.JOIN_SECONDS: seconds})
            log.info(
                "agent_verified",
                message=f"agent verified in room {row.room_name}: {agent.identity} (SID: {agent.sid})",
                participant_identity=agent.identity,
                participant_sid=agent.sid,
                join_seconds=round(seconds, 3),
            )
            await self._chosen_workers.joined(current.attempt)
            await remove_extra_agents(row, observed.sighting, rooms=self._rooms, repository=self._repository)
        return True

    async def _caller_left(self, current: Current, observed: Observations) -> None:
        row = current.session
        cause, evidence = await self._finding(current, observed)
        if await self._repository.caller_left(row, {"agent_missing": cause, **evidence}):
            metrics.session_abandoned()
            note({names.OUTCOME: "caller_left"})
            log.info("caller_left_early", agent_missing=str(cause))

    async def _rule(self, current: Current, observed: Observations) -> None:
        """The attempt brought no agent: ask for another attempt if one is left, else fail the session."""
        row = current.session
        cause, evidence = await self._chosen_workers.failed(
            current.attempt, await self._finding(current, observed)
        )
        early = observed.overdue and self._attempt_deadline.may_end_early(current, observed, self._now())
        if early and observed.window is not None:
            metrics.attempt_ended_early()
            evidence = {**evidence, "window_s": round(observed.window.total_seconds(), 3)}
        if row.attempt >= row.max_attempts or self._now() >= row.deadline_at:
            cause, evidence = await self._repository.surest(row, cause, evidence)
        worth_it = observed.livekit_error is None or observed.livekit_error.retryable
        # A full worker does not count as an attempt: the session may wait as long as its budget lasts.
        tries_left = row.attempt < row.max_attempts or cause in FULL
        if tries_left and self._now() < row.deadline_at and worth_it:
            delay = timedelta(seconds=PASSING_DELAY_S if cause in PASSING else 0)
            pool = row.pool
            if row.revivals:
                pool = await pool_for_revival(row, redis=self._redis, repository=self._repository)
            evidence = evidence_of_move(row, pool, evidence)
            if await self._repository.missing(current, cause, evidence, delay=delay, pool=pool):
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
        await give_up(row, cause, evidence, repository=self._repository)

    async def _finding(self, current: Current, observed: Observations) -> Finding:
        if observed.livekit_error is not None:
            return observed.livekit_error.cause, observed.livekit_error.evidence
        try:
            room_exists = await self._rooms.room_exists(current.session.room_name)
        except LiveKitError as error:
            return error.cause, error.evidence
        fleet = await self._read_fleet()
        return find_cause(
            Facts(
                session=current.session,
                attempt=current.attempt,
                room_exists=room_exists,
                sighting=observed.sighting,
                job=observed.job,
                agents_seen=observed.agents_seen.keys(),
                job_is_dead=self._attempt_deadline.job_is_dead(current, observed, self._now()),
                had_worker=bool(observed.had_worker),
                fleet=fleet,
                now=self._now(),
                name_is_proven=await self._name_is_proven(current.session.agent_name, fleet),
            )
        )

    async def _name_is_proven(self, agent_name: str, fleet: Fleet | None) -> bool:
        why = None if fleet is None else fleet.why_none(agent_name)
        # Only a mismatch depends on this, and it takes a query.
        mismatch = why is not None and why[0] is Cause.AGENT_NAME_MISMATCH
        return mismatch and await self._repository.name_is_proven(agent_name)

    async def _read_others_into(self, observed: Observations, current: Current) -> None:
        if observed.others_serve is None and is_passed_on(current.attempt):
            observed.others_serve = await self._repository.name_is_proven(current.session.agent_name)

    async def _read_answers_into(self, observed: Observations, current: Current) -> None:
        """Find out whether the chosen worker alone is slow, once its own window is over."""
        if not self._attempt_deadline.may_end_early(current, observed, self._now()):
            return
        # Its heartbeat lists the session sooner than its report is read here.
        await self._read_fleet_into(observed, current)
        observed.overdue = await self._chosen_workers.is_overdue(current.attempt)

    async def _read_fleet_into(self, observed: Observations, current: Current) -> None:
        observed.note_fleet(await self._read_fleet(), current, self._now())

    async def _read_fleet(self) -> Fleet | None:
        try:
            return await read_fleet(self._redis)
        except (RedisError, OSError):
            return None


def _who_left(current: Current, observed: Observations) -> ParticipantInfo | None:
    """Return the attempt's agent that has left; None unless a look has bound it to the attempt.

    LiveKit sends the webhook about a join only once the agent is ACTIVE. A look decides whose agent it was:
    the agent was listed, or LiveKit shows it as that of our dispatch.
    """
    attempt, identity = current.attempt, current.attempt.participant_identity or ""
    if attempt.arrived_at is not None and identity == observed.job.identity:
        return ParticipantInfo(identity=identity, sid=attempt.participant_sid or "")
    return observed.agents_seen.get(identity)
