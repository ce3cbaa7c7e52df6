"""Send a heartbeat to the registry every second, and at once when the worker's jobs change.

Each beat brings back what an operator has ordered.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rollcall_agent import metrics
from rollcall_agent.ports import FAILED, CallRefused
from shared.contracts.models import Models
from shared.contracts.settings import WorkerSettings
from shared.contracts.workers import WorkerFault, WorkerHeartbeat, WorkerOrder
from shared.core.workers.backend import Backend
from shared.core.workers.registry import HEARTBEAT_INTERVAL_S
from shared.platform.clock import Clock, utc_now
from shared.platform.logs.logs import get_logger

# With a heartbeat a second: a warning for the first failure, and then one a minute.
LOG_EVERY_FAILURES = 60
# The SDK has no event for the end of a job, and waiting sessions need its slot.
LOOK_INTERVAL_S = 0.1
STOP_S = 2.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Standing:
    """The worker's state at one moment."""

    active_jobs: int
    registered: bool
    draining: bool
    cordoned: bool = False
    sessions: tuple[str, ...] = ()
    faults: tuple[WorkerFault, ...] = ()
    address: str | None = None
    address_worker_id: str | None = None
    models: Models = field(default_factory=Models)


class Heart:
    """Sends heartbeats from the first registration on.

    Each registration brings a new id from LiveKit; the old one is removed.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        settings: WorkerSettings,
        version: str,
        standing: Callable[[], Standing],
        obey: Callable[[WorkerOrder], None],
        clock: Clock = utc_now,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._version = version
        self._standing = standing
        self._obey = obey
        self._clock = clock
        self._started_at = clock()
        self._worker_id: str | None = None
        self._former_ids: set[str] = set()
        self._failures = 0
        self._told: Standing | None = None
        self._now = asyncio.Event()

    def registered(self, worker_id: str) -> None:
        """Note that LiveKit registered this worker under an id."""
        if self._worker_id not in (None, worker_id):
            self._former_ids.add(str(self._worker_id))
        self._worker_id = worker_id
        self._now.set()

    def beat_now(self) -> None:
        """Send a heartbeat now, because of a change that others need at once."""
        self._now.set()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            self._now.clear()
            if self._worker_id is not None:
                await self._beat(self._worker_id)
            await self._until_due()

    async def stop(self) -> None:
        """Remove this worker from the registry. If that fails in `STOP_S`, its key expires by itself."""
        try:
            async with asyncio.timeout(STOP_S):
                for worker_id in {*self._former_ids, *filter(None, [self._worker_id])}:
                    await self._backend.remove_worker(worker_id)
        except FAILED as error:
            log.warning("worker_not_removed", error=repr(error))

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + HEARTBEAT_INTERVAL_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self._now.wait()
            if self._now.is_set() or loop.time() >= due or self._standing() != self._told:
                return

    async def _beat(self, worker_id: str) -> None:
        try:
            order = await self._backend.beat_worker(self._heartbeat(worker_id))
            for former in list(self._former_ids):
                # What was ordered under the former id holds: it is the same process.
                ordered = await self._leave(former)
                order = order or ordered
        except FAILED as error:
            metrics.heartbeat_failed()
            if self._failures % LOG_EVERY_FAILURES == 0:
                log.warning("heartbeat_failed", failures=self._failures + 1, error=repr(error))
            self._failures += 1
            return
        if self._failures:
            log.info("heartbeat_restored", failures=self._failures)
            self._failures = 0
        if order is not None:
            self._obey(order)

    async def _leave(self, former: str) -> WorkerOrder | None:
        """Take a former id out of the registry; return what was ordered under it."""
        order = None
        try:
            order = await self._backend.read_order(former)
            await self._backend.remove_worker(former)
        except CallRefused as refused:  # its key expires by itself
            log.warning("worker_id_not_left", worker_id=former, error=repr(refused))
        self._former_ids.discard(former)
        return order

    def _heartbeat(self, worker_id: str) -> WorkerHeartbeat:
        standing, settings = self._standing(), self._settings
        self._told = standing
        metrics.worker_seen(
            active=standing.active_jobs,
            maximum=settings.agent_max_jobs,
            registered=standing.registered,
            draining=standing.draining,
            cordoned=standing.cordoned,
        )
        return WorkerHeartbeat(
            worker_id=worker_id,
            agent_name=settings.livekit_agent_name,
            deployment=settings.livekit_agent_deployment,
            address=standing.address,
            address_worker_id=standing.address_worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            livekit_url=settings.public_livekit_url,
            load=min(1.0, standing.active_jobs / settings.agent_max_jobs),
            active_jobs=standing.active_jobs,
            max_jobs=settings.agent_max_jobs,
            draining=standing.draining,
            cordoned=standing.cordoned,
            registered=standing.registered,
            started_at=self._started_at,
            beat_at=self._clock(),
            models=standing.models,
            sessions=list(standing.sessions),
            faults=list(standing.faults),
        )
