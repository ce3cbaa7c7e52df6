"""Watch an active session: end it when the conversation ends, and replace a lost agent.

The `verify_session` task of an active session runs one look, and each look says when the next one is due:

1. Claim the session, so that no other verifier looks at the same time.
2. Ask whether the job still beats, and look at the room. If LiveKit does not answer, look again later.
3. Record which callers came and left.
4. Decide (`_decide`): the first rule that fits ends the session, replaces the agent, or leaves both.
5. Have the relay publish the new events.
"""

from datetime import timedelta

from livekit.protocol.models import ParticipantInfo
from redis.asyncio import Redis

from services.verifier import metrics
from services.verifier.extra_agents import remove_extra_agents
from services.verifier.give_up import give_up
from services.verifier.liveness import Liveness
from services.verifier.pools.revival_pool import evidence_of_move, pool_for_revival
from services.verifier.ports import Rooms
from services.verifier.prove.attempt_deadline import CALLER_GRACE
from services.verifier.prove.departure import Departure, judge_departure, why_gone
from services.verifier.prove.disconnect_reason import ROOM_DELETED
from services.verifier.prove.find_cause import Finding, fatal_error
from services.verifier.prove.observe import JobSighting, Sighting, is_ready, is_speaking, look_at_room
from services.verifier.prove.proofs import Proofs
from services.verifier.repository import CALLER_LEFT, CALLER_NEVER_CAME, Current, Repository
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import is_claimed
from shared.core.sessions.trace import bound_to
from shared.platform.clock import Clock
from shared.platform.livekit.client import LiveKitError, NotFound
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import span

log = get_logger(__name__)

# After an agent has said goodbye, wait this long before looking for it again.
LEAVING = timedelta(milliseconds=300)
# An agent that has lost its connection reconnects for some seconds, and LiveKit lists it during that time. If
# an agent is known to be dead and LiveKit doesn't answer, LiveKit is asked again this soon.
SOON = timedelta(seconds=1)
# For so long, the watch looks every second at an agent whose worker doesn't report to us, to see when it
# listens and first speaks.
SETTLING = timedelta(seconds=10)
AGENT_LEFT = "agent left"
ROOM_CLOSED = "room closed"
HOPELESS = frozenset({Cause.MODEL_MISCONFIGURED})
CANARY_PASSED = "canary passed"


class Watch:
    """Looks at active sessions, and has missing agents replaced."""

    def __init__(
        self,
        *,
        repository: Repository,
        redis: Redis,
        proofs: Proofs,
        rooms: Rooms,
        relay: Relay,
        liveness: Liveness,
        interval_s: float,
        max_revivals: int,
        max_attempts: int,
        caller_join_timeout_s: float,
        now: Clock,
    ) -> None:
        self._repository = repository
        self._redis = redis
        self._proofs = proofs
        self._rooms = rooms
        self._relay = relay
        self._liveness = liveness
        self._interval = timedelta(seconds=interval_s)
        self._max_revivals = max_revivals
        self._max_attempts = max_attempts
        self._caller_join_timeout = timedelta(seconds=caller_join_timeout_s)
        self._now = now

    async def fell_silent(self, session_id: str) -> None:
        """Make the session due now, because its job's beats stopped, if it is active.

        A job that is not ready yet has more time; the watch looks at it again soon anyway.
        """
        current = await self._repository.read(session_id)
        if current is not None and current.session.status == SessionStatus.ACTIVE:
            await self.check(current)

    async def check(self, current: Current) -> None:
        """Look once at an active session, and decide what follows."""
        row = current.session
        if is_claimed(row, self._now()):
            return
        with bound_to(row, attempt=row.attempt):
            async with self._repository.stoppable(row):
                if not await self._repository.claim(row):
                    return
                await self._look(current)
            self._relay.publish_soon(row.id)

    async def _look(self, current: Current) -> None:
        row = current.session
        silent = self._liveness.is_silent(row.id, row.attempt, is_ready=current.attempt.ready_at is not None)
        try:
            sighting = await look_at_room(row, rooms=self._rooms, job=JobSighting(row.agent_identity))
            room_exists = bool(sighting.participants) or await self._rooms.room_exists(row.room_name)
        except LiveKitError as error:
            # If LiveKit does not answer, that does not prove that the agent is gone.
            log.warning("active_session_not_checked", error=str(error))
            await self._repository.look_again(row, at=self._now() + (SOON if silent else self._interval))
            return
        if room_exists:  # a missing room does not mean that its callers left
            await self._repository.note_callers(row, sighting.callers)
        await self._decide(current, sighting, room_exists=room_exists, silent=silent)

    async def _decide(self, current: Current, sighting: Sighting, *, room_exists: bool, silent: bool) -> None:
        """Do what the first rule that fits says.

        1. The agent reported that it cannot speak, and the next one could not either: fail the session.
        2. A canary's agent is there, so the canary has its answer: end.
        3. The room is gone: end.
        4. The job's beats stopped, and it did not close: remove its ghost, and replace it.
        5. The agent has nobody to talk to: end.
        6. The agent is there: note what it proves, and look again.
        7. The agent connects again: look again soon.
        8. The agent is gone: end if that was meant, else replace it.
        """
        row, attempt = current.session, current.attempt
        await remove_extra_agents(row, sighting, rooms=self._rooms, repository=self._repository)
        error = fatal_error(attempt)
        if error is not None and (row.canary or error.cause in HOPELESS):
            # The agent is there and can't speak, and the next one could not either.
            await give_up(row, *_why_gone(current, silent=silent), repository=self._repository)
        elif row.canary:
            await self._end(current, CANARY_PASSED)
        elif not room_exists:
            await self._end(current, _why_closed(current))
        elif silent and attempt.closed_at is None:
            await self._remove_ghost(row.room_name, sighting)
            await self._replace_or_end(current, sighting, silent=True)
        elif (reason := self._why_deserted(current)) is not None:
            await self._end(current, reason)
        elif sighting.agent is not None:
            await self._stays(current, sighting.agent)
        elif sighting.connecting is not None:
            await self._repository.look_again(row, at=self._now() + SOON)
        else:
            await self._is_gone(current, sighting)

    def _why_deserted(self, current: Current) -> str | None:
        """Return why the session is over although its agent is in the room: it has nobody to talk to."""
        row, now = current.session, self._now()
        if row.caller_joined_at is None:
            since, limit = row.active_at or row.requested_at, self._caller_join_timeout
            return CALLER_NEVER_CAME if limit and now - since >= limit else None
        # A worker that reports to us ends the session itself, and may have work to finish first.
        gone_at = row.caller_left_at if current.attempt.reported_at is None else None
        return CALLER_LEFT if gone_at is not None and now - gone_at >= CALLER_GRACE else None

    async def _is_gone(self, current: Current, sighting: Sighting) -> None:
        row, attempt = current.session, current.attempt
        departure = judge_departure(attempt, self._now())
        if departure is Departure.UNTOLD:
            await self._repository.agent_missed(attempt)
            await self._repository.look_again(row, at=self._now() + LEAVING)
        elif departure is Departure.MEANT:
            after_caller = not sighting.callers and row.caller_joined_at is not None
            told = attempt.close_reason or (CALLER_LEFT if after_caller else AGENT_LEFT)
            await self._end(current, told)
        else:
            await self._replace_or_end(current, sighting, silent=False)

    async def _replace_or_end(self, current: Current, sighting: Sighting, *, silent: bool) -> None:
        """Replace a lost agent if the caller is in the room or has not come yet.

        Otherwise end the session.
        """
        had_caller = current.session.caller_joined_at is not None
        if had_caller and not sighting.callers:
            await self._end(current, CALLER_LEFT)
            return
        await self._replace(current, silent=silent)

    async def _stays(self, current: Current, agent: ParticipantInfo) -> None:
        row, attempt = current.session, current.attempt
        ready, speaks = attempt.ready_at is not None, attempt.first_speech_at is not None
        if (is_ready(agent) and not ready) or (is_speaking(agent) and not speaks):
            await self._proofs.shows(row, agent)
        await self._repository.look_again(row, at=self._now() + self._pause(current))

    def _pause(self, current: Current) -> timedelta:
        row, attempt = current.session, current.attempt
        if attempt.closed_at is not None:
            return LEAVING
        if row.caller_left_at is not None and attempt.reported_at is None:
            return SOON
        unsettled = attempt.reported_at is None and attempt.first_speech_at is None
        if unsettled and self._now() - (attempt.active_at or attempt.started_at) < SETTLING:
            return SOON
        if row.caller_joined_at is None and self._caller_join_timeout:
            return min(self._interval, self._caller_join_timeout)
        return self._interval

    async def _end(self, current: Current, reason: str) -> None:
        row = current.session
        if not await self._repository.ended(row, reason):
            return
        if reason == CALLER_NEVER_CAME:
            metrics.caller_never_came()
            log.warning("caller_never_came", message=f"session ended: no caller came to room {row.room_name}")
            return
        log.info("session_ended", reason=reason)

    async def _remove_ghost(self, room_name: str, sighting: Sighting) -> None:
        for ghost in filter(None, (sighting.agent, sighting.connecting)):
            try:
                await self._rooms.remove_participant(room_name, ghost.identity)
            except NotFound:
                continue
            except LiveKitError as error:
                # The next attempt's dispatcher removes agents and dispatches of earlier attempts.
                log.warning("ghost_not_removed", participant_identity=ghost.identity, error=str(error))

    async def _replace(self, current: Current, *, silent: bool) -> None:
        row = current.session
        cause, evidence = _why_gone(current, silent=silent)
        if row.revivals >= self._max_revivals:
            metrics.agent_lost("given_up")
            await give_up(row, cause, {**evidence, "revivals": row.revivals}, repository=self._repository)
            return
        pool = await pool_for_revival(row, redis=self._redis, repository=self._repository)
        evidence = evidence_of_move(row, pool, evidence)
        with span(names.REPLACE, of=row.traceparent, attributes={names.CAUSE: cause}):
            lost = await self._repository.lost(row, cause, evidence, attempts=self._max_attempts, pool=pool)
        if lost:
            metrics.agent_lost("revived")
            log.warning(
                "agent_lost",
                message=f"agent lost from room {row.room_name}, dispatching again",
                cause=str(cause),
                evidence=evidence,
            )


def _why_gone(current: Current, *, silent: bool) -> Finding:
    cause, evidence = why_gone(current.attempt)
    if silent:
        # Whatever the job reported before, its process ended, not the conversation.
        known = {key: evidence[key] for key in ("participant_identity", "worker_id", "job_id")}
        return Cause.WORKER_DIED, {**known, "sign": "its job beats no more"}
    return cause, evidence


def _why_closed(current: Current) -> str:
    """Return why a session ends whose room is gone."""
    row, attempt = current.session, current.attempt
    if row.caller_joined_at is None and ROOM_DELETED not in (attempt.left_reason, attempt.close_reason):
        return CALLER_NEVER_CAME  # LiveKit closes a room that nobody joins
    if row.caller_left_at is not None and attempt.reported_at is None:
        return CALLER_LEFT
    return attempt.close_reason or ROOM_CLOSED
