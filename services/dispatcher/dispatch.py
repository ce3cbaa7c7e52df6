"""Make one dispatch attempt for a session whose agent is wanted."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.dispatcher import metrics
from services.dispatcher.choose_worker import Chooser, Obstacle
from services.dispatcher.claims import Claim, Wanted
from services.dispatcher.livekit_dispatch import Placed, place_dispatch, withdraw_others
from services.dispatcher.ports import Rooms
from services.dispatcher.repository import Repository
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.keys import DISPATCH_TASK, line_name
from shared.core.admission.slots import release
from shared.core.sessions.metrics import agent_name_seen
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to, task_span
from shared.core.workers.credentials import KeyPair
from shared.core.workers.fence import set_fence
from shared.core.workers.history import write_history
from shared.core.workers.placement import BY_NAME, Choice
from shared.platform.livekit.client import LiveKitError
from shared.platform.logs.logs import bound, get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import failed, note

# How long a dispatcher that lost its claim waits for the one that took the attempt over, and for a LiveKit
# that did not answer.
TAKEN_OVER_S = 10.0
LOOK_AGAIN_S = 0.25

log = get_logger(__name__)


class Dispatcher:
    """Dispatches sessions; a process has one."""

    def __init__(
        self,
        *,
        repository: Repository,
        rooms: Rooms,
        redis: Redis,
        relay: Relay,
        settings: DispatcherSettings,
    ) -> None:
        self._repository = repository
        self._rooms = rooms
        self._redis = redis
        self._relay = relay
        self._settings = settings
        self._key_pair = KeyPair(settings.livekit_api_key, settings.livekit_api_secret)
        self._chooser = Chooser(redis=redis, repository=repository, settings=settings)

    async def unready(self) -> str | None:
        """Return why the database can't be used; None if it can."""
        return await self._repository.unready()

    async def dispatch_session(self, session_id: str) -> None:
        """Claim the session, call LiveKit, and store the result.

        A second delivery of the task does nothing.
        """
        wanted = await self._repository.find_undispatched(session_id)
        if wanted is None:
            return
        row = wanted.row
        agent_name_seen(row.agent_name)
        with bound_to(row), task_span(DISPATCH_TASK, row):
            choice = await self._choose(wanted)
            if not isinstance(choice, Choice):
                await self._hold_back(row, *choice)
                return
            claim = await self._repository.claim(row, choice)
            if claim is None:
                return
            note({names.ATTEMPT: claim.order.attempt})
            with bound(attempt=claim.order.attempt):
                await self._attempt(claim)
                self._relay.publish_soon(session_id)

    async def _choose(self, wanted: Wanted) -> Choice | Obstacle:
        """Return who gets the dispatch, with a slot promised; or why a dispatch would not succeed now."""
        if not await self._rooms.answers():
            return Cause.LIVEKIT_UNREACHABLE, self._rooms.why_away
        if wanted.under_way:
            return BY_NAME  # the attempt has its choice already
        if wanted.behind is not None:
            return wanted.behind, {}
        return await self._chooser.choose(wanted)

    async def _hold_back(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> None:
        """Make the session wait, or fail it if sessions must not wait for workers."""
        if cause is not Cause.LIVEKIT_UNREACHABLE and not self._settings.wait_for_workers:
            if await self._repository.give_up(row, cause, evidence):
                self._given_up(row, cause, evidence)
                self._relay.publish_soon(row.id)
        elif await self._repository.park(row, cause, evidence):
            metrics.session_waits(cause)
            note({names.OUTCOME: "waits", names.CAUSE: cause})
            log.warning("session_waiting", cause=str(cause), evidence=evidence)
            self._relay.publish_soon(row.id)

    async def _attempt(self, claim: Claim) -> None:
        row = claim.row
        log.info(
            "dispatch_started",
            message=f"dispatching agent to room {row.room_name} (attempt {row.attempt}/{row.max_attempts})",
            worker_id=claim.worker_id,
        )
        try:
            async with self._repository.held(claim):
                placed = await self._place(claim)
        except LiveKitError as error:
            await self._refused(claim, error)
            return
        metrics.attempt_accepted(placed=claim.order.address is not None)
        note({names.OUTCOME: "accepted", names.DISPATCH_ID: placed.dispatch_id})
        log.info(
            "agent_dispatched",
            message=f"agent dispatched to room {row.room_name}: {placed.dispatch_id}",
            dispatch_id=placed.dispatch_id,
        )
        for identity in placed.foreign:
            await self._repository.foreign_agent_seen(row, identity)
        if not await self._repository.accepted(claim, placed.dispatch_id, room_sid=placed.room_sid):
            log.info(
                "dispatch_outdated",
                message="the session has moved on meanwhile, or another dispatcher has taken it over",
                dispatch_id=placed.dispatch_id,
            )
            await self._clear_up(claim, placed.dispatch_id)

    async def _place(self, claim: Claim) -> Placed:
        # From now on, agents of earlier attempts are late.
        await set_fence(self._redis, claim.row.id, claim.order.attempt)
        if claim.order.takes_over:
            await self._hand_over(claim.row.id)
        return await place_dispatch(
            self._signed(claim),
            rooms=self._rooms,
            empty_timeout_s=self._settings.room_empty_timeout_s,
            departure_timeout_s=self._settings.room_departure_timeout_s,
        )

    def _signed(self, claim: Claim) -> Claim:
        """The claim, with what the agent proves itself with to the API."""
        order = claim.order
        credential = self._key_pair.sign_attempt(order.session_id, order.attempt)
        return replace(claim, order=order.model_copy(update={"credential": credential}))

    async def _clear_up(self, claim: Claim, made: str | None = None) -> None:
        """Withdraw dispatches that exist, or may exist, for an attempt of another dispatcher."""
        give_up_at = time.monotonic() + TAKEN_OVER_S
        while not await self._is_cleared(claim, made):
            if time.monotonic() >= give_up_at:
                # The fence keeps their agents out, and the verifier removes agents that know no fence.
                log.warning("outdated_dispatch_not_withdrawn", dispatch_id=made)
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _is_cleared(self, claim: Claim, made: str | None) -> bool:
        decision = await self._repository.decided(claim)
        if decision is None:
            return False
        if made is not None and made == decision.dispatch_id:
            return True
        try:
            await withdraw_others(claim, kept=decision.dispatch_id, rooms=self._rooms)
        except LiveKitError as error:
            return not error.retryable
        return True

    async def _refused(self, claim: Claim, error: LiveKitError) -> None:
        refusal = await self._repository.refused(claim, error)
        if not refusal.won:
            log.info("outdated_dispatch_refused", error=str(error))
            await self._clear_up(claim)
            return
        await self._release(claim.row)
        if refusal.retry_in_s is not None:
            metrics.attempt_failed()
            failed(error.cause, {names.OUTCOME: "refused", names.CAUSE: error.cause})
            log.warning(
                "dispatch_failed",
                error=str(error),
                cause=str(error.cause),
                retry_in_s=refusal.retry_in_s,
            )
            return
        self._given_up(claim.row, error.cause, error.evidence)

    def _given_up(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> None:
        metrics.session_given_up()
        failed(cause, {names.OUTCOME: "given_up", names.CAUSE: cause})
        log.critical(
            "agent_not_dispatched",
            message=f"CRITICAL: no agent could be dispatched to room {row.room_name}"
            if row.active_at is None
            else f"CRITICAL: agent lost from room {row.room_name}, and no other could be dispatched",
            revivals=row.revivals,
            cause=str(cause),
            evidence=evidence,
            advice=ADVICE[cause],
        )

    async def _hand_over(self, session_id: str) -> None:
        """Write the conversation so far for the agent; without it, the agent starts from the beginning."""
        turns = await self._repository.history(session_id)
        try:
            await write_history(self._redis, session_id, turns)
        except (RedisError, OSError) as error:
            log.warning("history_not_handed_over", turns=len(turns), error=repr(error))

    async def _release(self, row: SessionRow) -> None:
        try:
            await release(self._redis, line_name(row.agent_name, row.pool), row.id)
        except (RedisError, OSError) as error:
            log.debug("slot_not_released", error=repr(error))  # the promise ends by itself
