"""Send the deliveries that are due: claim, send, record, and claim again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from services.webhooks.payload import body_of, signed_headers
from services.webhooks.ports import DeliveryStore, Done, DueDelivery, Transport
from services.webhooks.send import Outcome, Reply
from shared.core.webhooks.secrets import UnreadableSecret
from shared.platform.background import stop_all
from shared.platform.clock import Clock
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# Deliveries that another process has collected, or that become due, are found after this long.
POLL_S: Final = 1.0


class Deliverer:
    """Sends claimed deliveries, each in a task of its own; a slow endpoint delays only its own deliveries."""

    def __init__(
        self,
        *,
        store: DeliveryStore,
        transport: Transport,
        open_secret: Callable[[str], str],
        now: Clock,
        agent: str,
    ) -> None:
        self._store = store
        self._transport = transport
        self._open_secret = open_secret
        self._now = now
        self._agent = agent
        self._sending: dict[asyncio.Task[None], str] = {}
        self._done: list[Done] = []
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()

    def deliver_soon(self) -> None:
        """Announce that a delivery may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver forever."""
        while True:
            try:
                await self.deliver_due()
            except DATABASE_ERRORS as error:
                # Outcomes stay in memory, and are recorded when the database is back.
                log.warning("webhooks_interrupted", error=repr(error))
                await asyncio.sleep(POLL_S)
            await self._wait()

    async def deliver_due(self, *, claim: bool = True) -> int:
        """Record outcomes, and start deliveries that are due; return how many were started."""
        # Not interrupted: a delivery that is claimed and not sent would have to wait until its claim expires.
        return await asyncio.shield(asyncio.create_task(self._deliver_due(claim)))

    async def _deliver_due(self, claim: bool) -> int:
        async with self._turning:
            self._wake.clear()
            done = list(self._done)
            busy = Counter(self._sending.values()) if claim else _ALL_BUSY
            jobs = await self._store.settle_and_claim(done, busy)
            del self._done[: len(done)]
            for job in jobs:
                task = asyncio.create_task(self._send(job))
                self._sending[task] = job.endpoint_id
                task.add_done_callback(self._sent)
            return len(jobs)

    async def drain(self, timeout_s: float) -> None:
        """Let running requests finish, and record them. Requests that take longer will be sent again."""
        async with self._turning:  # a turn that has begun may still start requests
            pass
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout_s)
        await stop_all(self._sending)
        with suppress(*DATABASE_ERRORS):
            await self.deliver_due(claim=False)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._wake.set()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _send(self, job: DueDelivery) -> None:
        try:
            reply = await self._attempt(job)
        except Exception as error:
            log.exception("webhook_not_sent", endpoint_id=job.endpoint_id, event_id=job.event_id)
            reply = Reply(Outcome.UNSENDABLE, error=repr(error))
        self._done.append(Done(job, reply, self._now()))

    async def _attempt(self, job: DueDelivery) -> Reply:
        if job.envelope is None:
            return Reply(Outcome.UNSENDABLE, error="its event no longer exists")
        try:
            secrets = [self._open_secret(sealed) for sealed in job.sealed_secrets]
        except UnreadableSecret as error:
            return Reply(Outcome.UNSENDABLE, error=f"the secret can't be read: {error}")
        body = body_of(job.envelope)
        headers = signed_headers(
            body, message_id=job.event_id, secrets=secrets, now=self._now(), user_agent=self._agent
        )
        return await self._transport.post(job.url, body, headers, project=job.project)


# No endpoint has room, so nothing is claimed.
_ALL_BUSY: Final = Counter({"": 1_000_000})
