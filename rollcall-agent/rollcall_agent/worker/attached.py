"""The worker's side: what Rollcall puts around the user's functions, and what runs beside the server."""

import asyncio
import math
import signal
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import AgentServer, JobExecutorType
from livekit.agents.worker import _default_load_threshold
from livekit.protocol.models import ServerInfo

from rollcall_agent.job.entrypoint import Entrypoint, SessionEnd, SetUp
from rollcall_agent.job.parts import JobParts
from rollcall_agent.qualification import Qualification
from rollcall_agent.transport import Transport
from rollcall_agent.worker.address import Address, is_connected
from rollcall_agent.worker.admit import Admission
from rollcall_agent.worker.heartbeat import Standing
from rollcall_agent.worker.offer import UsersAnswer
from rollcall_agent.worker.orders import Orders
from rollcall_agent.worker.server_version import is_too_old
from rollcall_agent.worker.shared_counter import SharedCounter
from rollcall_agent.worker.stop import WorkerStop
from shared.contracts.settings import WorkerSettings
from shared.platform.background import running, stop_all
from shared.platform.build import tell_build
from shared.platform.http.probe import start_probe
from shared.platform.logs.logs import get_logger

PRELOAD: Final = "rollcall_agent.worker.preload"

log = get_logger(__name__)


class AttachedWorker:
    """One server that runs, and Rollcall beside it, from `start` to `aclose`."""

    def __init__(
        self,
        server: AgentServer,
        *,
        settings: WorkerSettings,
        transport: Transport,
        redact: Callable[[str], str] | None,
        qualification: Qualification,
        drain: Callable[[], None] | None,
    ) -> None:
        self._stopping = WorkerStop()
        self._server = server
        self._settings = settings
        self._address = Address(server)
        self._qualification = qualification
        failures = SharedCounter()
        self._parts = JobParts(
            settings=settings,
            transport=transport,
            redact=redact,
            stopping=self._stopping,
            spool_failures=failures,
            own_process=server._job_executor_type is JobExecutorType.PROCESS,
        )
        self._orders = Orders(drain=drain or self._drain)
        self._draining: asyncio.Task[None] | None = None
        self._way = transport.open_worker(
            settings, standing=self._standing, obey=self._orders.obey, spool_failures=failures
        )
        self._admission = Admission(
            worker=server,
            max_jobs=settings.agent_max_jobs,
            fences=self._way.fences,
            outbox=self._way.outbox,
            came_by=self._address.came_by,
            meet=self._way.meet,
            qualification=qualification,
            cordoned=lambda: self._orders.cordoned,
        )
        self._running: list[asyncio.Task[None]] = []
        self._probe: Any = None

    async def start(self) -> None:
        """Put Rollcall around what the user has registered, and begin to tell that the worker lives.

        Called before the server runs, which reads all of this then. Raises `OSError` if the probe's port is
        taken.
        """
        self._wrap()
        self._server.on("worker_registered", self._on_registered)
        tell_build("agent")
        self._probe = await start_probe(self._settings)
        self._running = [
            asyncio.create_task(self._way.run(), name="rollcall-worker"),
            asyncio.create_task(self._beside(), name="rollcall-beside"),
        ]
        log.info("rollcall_attached", agent_name=self._settings.livekit_agent_name)

    def beat_now(self) -> None:
        """Tell the registry at once how the worker stands."""
        self._way.beat_now()

    async def stop(self) -> None:
        """Announce the end to the jobs, and take no more by the worker's own address."""
        self._stopping.announce()
        await self._address.stop()

    async def aclose(self) -> None:
        """Send what is left, and take the worker out of the registry."""
        await stop_all(self._running)
        await self._qualification.aclose()
        await self._way.aclose()
        if self._probe is not None:
            await self._probe.cleanup()

    async def _beside(self) -> None:
        async with running(address=self._address.run, qualification=self._qualify):
            await asyncio.Event().wait()

    async def _qualify(self) -> None:
        await self._qualification.run()
        await asyncio.Event().wait()  # a loop that ends would be started again

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
            faults=self._qualification.faults,
            models=self._qualification.models,
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

    def _on_registered(self, worker_id: str, server: ServerInfo) -> None:
        name = self._settings.livekit_agent_name
        if is_too_old(server.version):
            log.error(
                "livekit_too_old",
                message=f"LiveKit {server.version} drops the attributes of dispatches, and with them what"
                " Rollcall orders: upgrade the server to 1.13 or later",
                version=server.version,
            )
        log.info(
            "worker_registered",
            message=f"agent {name} registered with worker id {worker_id}: it listens for dispatches",
            worker_id=worker_id,
            agent_name=name,
        )
        self._way.registered(worker_id)
        if self._settings.livekit_placement == "auto":
            self._address.worker_registered()
