"""Send events to Rollcall in order. The call never waits for Rollcall."""

import asyncio
from collections import deque
from itertools import islice, takewhile

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from rollcall_agent import metrics
from shared.contracts.events import Envelope
from shared.core.workers.backend import Backend
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

# Enough for hours: a call has a few turns a minute.
QUEUE_LIMIT = 10_000
BATCH_LIMIT = 100
RETRY_MAX_S = 2.0
# A log line for the first failure, and then about two a minute.
LOG_EVERY_ATTEMPTS = 15

# The last turns and the final report get this long to reach Rollcall.
FLUSH_S = 5.0
# The next steps may hang or die, and only this report shows that the job has started. Rollcall accepts it
# at once, but the connection is new, and a busy machine may take a while to open it.
STARTED_FLUSH_S = 1.0
# The verifier waits for the report that the agent is in the room, and the next steps keep the loop busy for
# 0.1 s.
NEWS_FLUSH_S = 0.05

log = get_logger(__name__)


class Publisher:
    """A bounded queue, and one task that empties it. It sends events again until Rollcall has them."""

    def __init__(self, backend: Backend, *, limit: int = QUEUE_LIMIT) -> None:
        self._backend = backend
        self._limit = limit
        self._queue: deque[tuple[str, Envelope]] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending in the running loop."""
        self._sender = asyncio.create_task(self._send_for_ever(), name="publisher")

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Queue an event. A full queue drops the newest event, so that the sent ones have no gap."""
        if len(self._queue) >= self._limit:
            _drop(stream, envelope)
            return False
        self._queue.append((stream, envelope))
        self._empty.clear()
        self._filled.set()
        return True

    async def flush(self, *, within_s: float) -> bool:
        """Wait at most `within_s` seconds until everything is sent; return whether it is."""
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self, *, flush_s: float) -> None:
        """Flush for at most `flush_s` seconds, then stop.

        Unsent events are logged; turns stay in the spool.
        """
        if not await self.flush(within_s=flush_s):
            log.error("events_not_sent", count=len(self._queue))
        if self._sender is not None:
            await stop_all([self._sender])

    async def _send_for_ever(self) -> None:
        while True:
            await self._filled.wait()
            stream, batch = self._next_batch()
            await self._send(stream, batch)
            for _ in batch:
                self._queue.popleft()
            if not self._queue:
                self._filled.clear()
                self._empty.set()

    def _next_batch(self) -> tuple[str, list[Envelope]]:
        stream = self._queue[0][0]
        run = takewhile(lambda entry: entry[0] == stream, islice(self._queue, BATCH_LIMIT))
        return stream, [envelope for _, envelope in run]

    async def _send(self, stream: str, batch: list[Envelope]) -> None:
        # What failed may have been done; readers recognise an event by its id.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(UNREACHABLE),
            wait=wait_exponential(multiplier=0.05, max=RETRY_MAX_S),
            before_sleep=_tell,
        )
        try:
            await retrying(self._backend.publish, stream, batch)
        except Exception as error:
            if len(batch) == 1:
                _drop(stream, batch[0], error)
                return
            # One of them can't be sent: find it, and send the others. Readers recognise events that come
            # again.
            for envelope in batch:
                await self._send(stream, [envelope])


def _drop(stream: str, envelope: Envelope, error: Exception | None = None) -> None:
    metrics.event_dropped()
    why = "the queue is full" if error is None else repr(error)
    log.error("event_dropped", stream=stream, type=envelope.type, subject=envelope.subject, error=why)


def _tell(state: RetryCallState) -> None:
    metrics.publish_retried()
    if state.attempt_number % LOG_EVERY_ATTEMPTS == 1:
        error = state.outcome.exception() if state.outcome else None
        log.warning("publish_retried", tries=state.attempt_number, error=repr(error))
