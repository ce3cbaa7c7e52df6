"""Make one dispatch attempt for a session whose agent is wanted."""

from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.dispatcher import metrics
from services.dispatcher.claim import Claim, Ledger
from services.dispatcher.place import place_dispatch
from services.dispatcher.ports import Rooms
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.causes import ADVICE, Cause
from shared.runtime.fence import set_fence
from shared.runtime.livekit import LiveKitError
from shared.runtime.logs import bound, get_logger
from shared.runtime.outbox import Relay
from shared.runtime.registry import read_fleet

log = get_logger(__name__)

CAPACITY_RECHECK = timedelta(milliseconds=250)


class Dispatcher:
    """Dispatches sessions; one per process."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        rooms: Rooms,
        redis: Redis,
        relay: Relay,
        settings: DispatcherSettings,
    ) -> None:
        self._ledger = ledger
        self._rooms = rooms
        self._redis = redis
        self._relay = relay
        self._settings = settings

    async def dispatch_session(self, session_id: str) -> None:
        """Claim the session, call LiveKit, and store what came of it; a second delivery does nothing."""
        row = await self._ledger.find(session_id)
        if row is None:
            return
        with bound(session_id=row.id, room=row.room_name):
            no_room = await self._no_free_worker(row.agent_name)
            if no_room is not None:
                log.info("session waits for a free worker", cause=str(no_room))
                metrics.session_waits(no_room)
                await self._ledger.put_off(row, no_room, delay=CAPACITY_RECHECK)
                return
            claim = await self._ledger.claim(row)
            if claim is None:
                return
            with bound(attempt=claim.order.attempt):
                await self._attempt(claim)
                self._relay.nudge(session_id)

    async def _attempt(self, claim: Claim) -> None:
        row = claim.row
        log.info(f"dispatching agent to room {row.room_name} (attempt {row.attempt}/{row.max_attempts})")
        # The agents of earlier attempts are late from here on.
        await set_fence(self._redis, row.id, claim.order.attempt)
        try:
            dispatch_id = await place_dispatch(
                claim,
                rooms=self._rooms,
                empty_timeout_s=self._settings.room_empty_timeout_s,
                departure_timeout_s=self._settings.room_departure_timeout_s,
            )
        except LiveKitError as error:
            await self._refused(claim, error)
            return
        metrics.attempt_accepted()
        log.info(f"agent dispatched to room {row.room_name}: {dispatch_id}")
        if not await self._ledger.accepted(claim, dispatch_id):
            log.info("the session has moved on meanwhile; its agent is withdrawn when it is closed")

    async def _refused(self, claim: Claim, error: LiveKitError) -> None:
        refusal = await self._ledger.refused(claim, error)
        if not refusal.won:
            log.info("dispatch refused for a session that has moved on", error=str(error))
            return
        if refusal.retry_in_s is not None:
            metrics.attempt_failed()
            log.warning(
                "dispatch attempt failed",
                error=str(error),
                cause=str(error.cause),
                retry_in_s=refusal.retry_in_s,
            )
            return
        metrics.session_given_up(error.cause)
        log.critical(
            f"CRITICAL: no agent could be dispatched to room {claim.row.room_name}",
            cause=str(error.cause),
            error=str(error),
            advice=ADVICE[error.cause],
        )

    async def _no_free_worker(self, agent_name: str) -> Cause | None:
        """Return why no worker of this name takes a job now; None if one may.

        A registry that can't be read, or knows no such worker, proves nothing: the worker may be one
        that doesn't report to us.
        """
        try:
            fleet = await read_fleet(self._redis)
        except (RedisError, OSError):
            return None
        return fleet.why_full(agent_name)
