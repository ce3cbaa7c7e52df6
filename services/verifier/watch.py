"""Watch an active session: its agent stays, the conversation ends, or a lost agent is replaced."""

from datetime import timedelta

from services.verifier import metrics
from services.verifier.find_cause import Finding, fatal_error, reported_error
from services.verifier.liveness import Liveness
from services.verifier.observe import JobSighting, Sighting, is_ready, look
from services.verifier.ports import Rooms
from services.verifier.proofs import Proofs
from services.verifier.rulings import CALLER_LEFT, Case, Rulings
from services.verifier.verify import Verifier
from shared.contracts.causes import Cause
from shared.contracts.sessions import SessionStatus
from shared.runtime import span_names as names
from shared.runtime.clock import Clock
from shared.runtime.livekit import LiveKitError, NotFound
from shared.runtime.logs import get_logger
from shared.runtime.outbox import Relay
from shared.runtime.session_trace import bound_to
from shared.runtime.sessions import is_claimed
from shared.runtime.tracing import span

log = get_logger(__name__)

# An agent that has said goodbye is given this long to leave before it is looked for again.
LEAVING = timedelta(milliseconds=300)
# An agent that has lost its connection tries again for seconds; LiveKit lists it as long as it may. And a
# server that doesn't answer is asked again this soon when an agent is known to be dead.
SOON = timedelta(seconds=1)
# Why an agent closes of its own accord, in the words of livekit-agents' CloseReason. Any other end of an
# agent whose caller is still there is a loss.
NORMAL_ENDS = frozenset({"participant_disconnected", "user_initiated", "task_completed"})
HOPELESS = frozenset({Cause.MODEL_MISCONFIGURED})
CANARY_PASSED = "canary passed"


class Watch:
    """Looks at active sessions; what it finds missing, it has replaced."""

    def __init__(
        self,
        *,
        rulings: Rulings,
        proofs: Proofs,
        rooms: Rooms,
        relay: Relay,
        verifier: Verifier,
        liveness: Liveness,
        interval_s: float,
        max_revivals: int,
        max_attempts: int,
        now: Clock,
    ) -> None:
        self._rulings = rulings
        self._proofs = proofs
        self._rooms = rooms
        self._relay = relay
        self._verifier = verifier
        self._liveness = liveness
        self._interval = timedelta(seconds=interval_s)
        self._max_revivals = max_revivals
        self._max_attempts = max_attempts
        self._now = now

    async def fell_silent(self, session_id: str) -> None:
        """The session's job beats no more: look at once, if the session is active.

        One that is not ready yet is given more time; it is looked at again soon after this anyway.
        """
        case = await self._rulings.read(session_id)
        if case is not None and case.session.status == SessionStatus.ACTIVE:
            await self.check(case)

    async def check(self, case: Case) -> None:
        """Look once at an active session and decide what follows."""
        row = case.session
        if is_claimed(row, self._now()):
            return
        with bound_to(row, attempt=row.attempt):
            if not await self._rulings.claim(row):
                return
            is_ready = case.attempt.ready_at is not None
            silent = self._liveness.is_silent(row.id, row.attempt, is_ready=is_ready)
            try:
                sighting = await look(row, rooms=self._rooms, job=JobSighting(row.agent_identity))
                room_exists = bool(sighting.participants) or await self._rooms.room_exists(row.room_name)
            except LiveKitError as error:
                # A server that can't be asked is no proof that the agent is gone.
                log.warning("active_session_not_checked", error=str(error))
                pause = SOON if silent else self._interval
                await self._rulings.look_again(row, at=self._now() + pause)
                return
            if sighting.callers and row.caller_joined_at is None:
                await self._rulings.caller_seen(row)
            await self._decide(case, sighting, room_exists=room_exists, silent=silent)
            self._relay.nudge(row.id)

    async def _decide(self, case: Case, sighting: Sighting, *, room_exists: bool, silent: bool) -> None:
        row, attempt = case.session, case.attempt
        await self._verifier.remove_extra(row, sighting)
        error = fatal_error(attempt)
        if error is not None and (row.canary or error.cause in HOPELESS):
            # The agent is there and can't speak, and so would be the next one.
            await self._verifier.give_up(row, *_why_gone(case, silent=silent))
        elif row.canary:
            await self._end(case, CANARY_PASSED)
        elif not room_exists:
            await self._end(case, attempt.close_reason or "room closed")
        elif silent and attempt.closed_at is None:
            await self._remove_ghost(row.room_name, sighting)
            await self._replace_or_end(case, sighting, silent=True)
        elif sighting.agent is not None:
            await self._stays(case, sighting)
        elif sighting.connecting is not None:
            await self._rulings.look_again(row, at=self._now() + SOON)
        elif attempt.close_reason in NORMAL_ENDS:
            await self._end(case, attempt.close_reason)
        else:
            await self._replace_or_end(case, sighting, silent=False)

    async def _replace_or_end(self, case: Case, sighting: Sighting, *, silent: bool) -> None:
        """A lost agent is replaced for a caller who is there, or who hasn't come yet; not for nobody.

        A worker that doesn't report to us leaves after its caller without a word.
        """
        had_caller = case.session.caller_joined_at is not None or case.attempt.assigned_at is None
        if had_caller and not sighting.callers:
            await self._end(case, CALLER_LEFT)
            return
        await self._replace(case, silent=silent)

    async def _stays(self, case: Case, sighting: Sighting) -> None:
        row, attempt = case.session, case.attempt
        if attempt.ready_at is None and sighting.agent is not None and is_ready(sighting.agent):
            await self._proofs.ready(row)
        pause = LEAVING if attempt.closed_at is not None else self._interval
        await self._rulings.look_again(row, at=self._now() + pause)

    async def _end(self, case: Case, reason: str) -> None:
        if await self._rulings.ended(case.session, reason):
            log.info("session_ended", reason=reason)

    async def _remove_ghost(self, room_name: str, sighting: Sighting) -> None:
        for ghost in filter(None, (sighting.agent, sighting.connecting)):
            try:
                await self._rooms.remove_participant(room_name, ghost.identity)
            except NotFound:
                continue
            except LiveKitError as error:
                # The next attempt's dispatcher removes what is left of earlier ones.
                log.warning("ghost_not_removed", participant_identity=ghost.identity, error=str(error))

    async def _replace(self, case: Case, *, silent: bool) -> None:
        row = case.session
        cause, evidence = _why_gone(case, silent=silent)
        if row.revivals >= self._max_revivals:
            metrics.agent_lost("given_up")
            await self._verifier.give_up(row, cause, {**evidence, "revivals": row.revivals})
            return
        with span(names.REPLACE, of=row.traceparent, attributes={names.CAUSE: cause}):
            lost = await self._rulings.lost(row, cause, evidence, attempts=self._max_attempts)
        if lost:
            metrics.agent_lost("revived")
            log.warning(
                "agent_lost",
                message=f"agent lost from room {row.room_name}, dispatching again",
                cause=str(cause),
                evidence=evidence,
            )


def _why_gone(case: Case, *, silent: bool) -> Finding:
    attempt = case.attempt
    evidence = {
        "participant_identity": case.session.agent_identity,
        "worker_id": attempt.worker_id,
    }
    if silent:
        # Whatever it had reported before, this is the end of a process, not of a conversation.
        return Cause.WORKER_DIED, {**evidence, "job_id": attempt.job_id, "sign": "its job beats no more"}
    finding = reported_error(attempt)
    if finding is not None:
        cause, error = finding
        return cause, {**evidence, **error}
    if attempt.close_reason is not None:
        evidence["reason"] = attempt.close_reason
    return Cause.AGENT_LEFT, evidence
