"""Watch an active session: its agent stays, the conversation ends, or a lost agent is replaced."""

from datetime import timedelta

from services.verifier import metrics
from services.verifier.find_cause import Finding, fatal_error, reported_error
from services.verifier.observe import JobSighting, Sighting, look
from services.verifier.ports import Rooms
from services.verifier.rulings import Case, Rulings
from services.verifier.verify import Verifier
from shared.contracts.causes import Cause
from shared.runtime.clock import Clock
from shared.runtime.livekit import LiveKitError
from shared.runtime.logs import bound, get_logger
from shared.runtime.outbox import Relay
from shared.runtime.sessions import is_claimed
from shared.runtime.tables import AttemptRow

log = get_logger(__name__)

# An agent that has said goodbye is given this long to leave before it is looked for again.
LEAVING = timedelta(milliseconds=300)

# An agent that has lost its connection tries again for seconds; LiveKit lists it as long as it may.
RECONNECTING = timedelta(seconds=1)
# Why an agent closes of its own accord, in the words of livekit-agents' CloseReason. Any other end of an
# agent whose caller is still there is a loss.
NORMAL_ENDS = frozenset({"participant_disconnected", "user_initiated", "task_completed"})
HOPELESS = frozenset({Cause.MODEL_MISCONFIGURED})


class Watch:
    """Looks at active sessions; what it finds missing, it has replaced."""

    def __init__(
        self,
        *,
        rulings: Rulings,
        rooms: Rooms,
        relay: Relay,
        verifier: Verifier,
        interval_s: float,
        max_revivals: int,
        max_attempts: int,
        now: Clock,
    ) -> None:
        self._rulings = rulings
        self._rooms = rooms
        self._relay = relay
        self._verifier = verifier
        self._interval = timedelta(seconds=interval_s)
        self._max_revivals = max_revivals
        self._max_attempts = max_attempts
        self._now = now

    async def check(self, case: Case) -> None:
        """Look once at an active session and decide what follows."""
        row = case.session
        if is_claimed(row, self._now()):
            return
        with bound(session_id=row.id, room=row.room_name, attempt=row.attempt):
            if not await self._rulings.claim(row):
                return
            try:
                sighting = await look(row, rooms=self._rooms, job=JobSighting(row.agent_identity))
                room_exists = bool(sighting.participants) or await self._rooms.room_exists(row.room_name)
            except LiveKitError as error:
                # A server that can't be asked is no proof that the agent is gone.
                log.warning("active session not checked", error=str(error))
                await self._rulings.look_again(row, at=self._now() + self._interval)
                return
            await self._decide(case, sighting, room_exists=room_exists)
            self._relay.nudge(row.id)

    async def _decide(self, case: Case, sighting: Sighting, *, room_exists: bool) -> None:
        row, attempt = case.session, case.attempt
        await self._verifier.remove_extra(row, sighting)
        error = fatal_error(attempt)
        if error is not None and error.cause in HOPELESS:
            # The agent is there and can't speak, and so would be the next one.
            await self._verifier.give_up(row, *_why_gone(attempt))
        elif sighting.agent is not None:
            pause = LEAVING if attempt.closed_at is not None else self._interval
            await self._rulings.look_again(row, at=self._now() + pause)
        elif sighting.connecting is not None:
            await self._rulings.look_again(row, at=self._now() + RECONNECTING)
        elif not room_exists:
            await self._end(case, attempt.close_reason or "room closed")
        elif attempt.close_reason in NORMAL_ENDS:
            await self._end(case, attempt.close_reason)
        elif not sighting.callers and attempt.assigned_at is None:
            # A worker that doesn't report to us leaves after its caller without a word.
            await self._end(case, "caller left")
        else:
            await self._replace(case)

    async def _end(self, case: Case, reason: str) -> None:
        if await self._rulings.ended(case.session, reason):
            log.info("session ended", reason=reason)

    async def _replace(self, case: Case) -> None:
        row = case.session
        cause, evidence = _why_gone(case.attempt)
        if row.revivals >= self._max_revivals:
            metrics.agent_lost("given_up")
            await self._verifier.give_up(row, cause, evidence)
            return
        if await self._rulings.lost(row, cause, evidence, attempts=self._max_attempts):
            metrics.agent_lost("revived")
            log.warning(
                f"agent lost from room {row.room_name}, dispatching again",
                cause=str(cause),
                evidence=evidence,
            )


def _why_gone(attempt: AttemptRow) -> Finding:
    evidence = {
        "participant_identity": attempt.participant_identity,
        "worker_id": attempt.worker_id,
    }
    finding = reported_error(attempt)
    if finding is None:
        return Cause.AGENT_LEFT, evidence
    cause, error = finding
    return cause, {**evidence, **error}
