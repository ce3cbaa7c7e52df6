"""The worker's side: what Rollcall puts around the user's functions, and what runs beside the server."""

import asyncio
import math
import signal
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import AgentServer, JobExecutorType
from livekit.agents.worker import _default_load_threshold
from livekit.protocol.models import ServerInfo

from rollcall_agent.entrypoint import Entrypoint, SessionEnd, SetUp
from rollcall_agent.offer import AnyOffer, UsersAnswer
from rollcall_agent.parts import JobParts
from rollcall_agent.transport import Transport
from services.agent.settings import AgentSettings
from services.agent.spool.spool import check_spool
from services.agent.worker.address import Address, is_connected
from services.agent.worker.admit import Admission
from services.agent.worker.heartbeat import Standing
from services.agent.worker.orders import Orders
from services.agent.worker.shared_counter import SharedCounter
from services.agent.worker.shutdown import WorkerStop
from shared.platform.background import stop_all
from shared.platform.build import tell_build
from shared.platform.http.probe import start_probe
from shared.platform.logs.logs import get_logger

PRELOAD: Final = "services.agent.worker.preload"

log = get_logger(__name__)


class AttachedWorker:
    """One server that runs, and Rollcall beside it, from `start` to `aclose`."""

    def __init__(
        self,
        server: AgentServer,
        *,
        settings: AgentSettings,
        transport: Transport,
        redact: Callable[[str], str] | None,
    ) -> None:
        self.stopping = WorkerStop()
        self._server = server
        self._settings = settings
        self._address = Address(server)
        failures = SharedCounter()
        self._parts = JobParts(
            settings=settings,
            transport=transport,
            redact=redact,
            stopping=self.stopping,
            spool_failures=failures,
            own_process=server._job_executor_type is JobExecutorType.PROCESS,
        )
        self._orders = Orders(drain=self._drain)
        self._draining: asyncio.Task[None] | None = None
        self._way = transport.open_worker(
            settings, standing=self._standing, obey=self._orders.obey, spool_failures=failures
        )
        self._admission = Admission(
            worker=server,
            max_jobs=settings.agent_max_jobs,
            redis=self._way.fences,
            outbox=self._way.outbox,
            came_by=self._address.came_by,
            qualification=AnyOffer(),
            cordoned=lambda: self._orders.cordoned,
        )
        self._running: list[asyncio.Task[None]] = []
        self._probe: Any = None

    async def start(self) -> None:
        """Put Rollcall around what the user has registered, and begin to tell that the worker lives.

        Called before the server runs, which reads all of this then. Raises `SpoolUnusable` if turns can't be
        kept on this host's disk.
        """
        check_spool(self._settings.spool_folder)
        self._wrap()
        self._server.on("worker_registered", self._on_registered)
        tell_build("agent")
        self._probe = await start_probe(self._settings)
        self._running = [
            asyncio.create_task(self._way.run(), name="rollcall-worker"),
            asyncio.create_task(self._address.run(), name="rollcall-address"),
        ]
        log.info("rollcall_attached", agent_name=self._settings.livekit_agent_name)

    async def aclose(self) -> None:
        """Send what is left, and take the worker out of the registry."""
        await self._address.stop()
        await stop_all(self._running)
        await self._way.aclose()
        if self._probe is not None:
            await self._probe.cleanup()

    def _wrap(self) -> None:
        server = self._server
        assert server._entrypoint_fnc is not None, "the SDK's own message is better: it comes with `run`"
        server._entrypoint_fnc = Entrypoint(server._entrypoint_fnc)
        server._session_end_fnc = SessionEnd(server._session_end_fnc)
        server._request_fnc = UsersAnswer(self._admission, server._request_fnc)
        server.setup_fnc = SetUp(server.setup_fnc, self._parts)
        server._preload_modules = [*server._preload_modules, PRELOAD]
        if server.load_fnc is None:
            server.load_fnc = self._admission.load
            if server._load_threshold is _default_load_threshold:
                # It would drop bursts; the admission is the limit.
                server.update_options(load_threshold=math.inf)

    def _standing(self) -> Standing:
        return Standing(
            active_jobs=self._admission.active_jobs,
            registered=is_connected(self._server),
            draining=self._server.draining,
            cordoned=self._orders.cordoned,
            sessions=self._admission.sessions,
            address=self._address.address,
            address_worker_id=self._address.worker_id,
        )

    def _drain(self) -> None:
        """End the process when its calls have ended, as its SIGTERM does where something handles that."""
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.raise_signal(signal.SIGTERM)
            return
        self._draining = asyncio.create_task(self._drain_and_close(), name="rollcall-drain")

    async def _drain_and_close(self) -> None:
        await self._server.drain()
        await self._server.aclose()

    def _on_registered(self, worker_id: str, _: ServerInfo) -> None:
        log.info("rollcall_worker_registered", worker_id=worker_id)
        self._way.registered(worker_id)
        if self._settings.livekit_placement == "auto":
            self._address.worker_registered()
