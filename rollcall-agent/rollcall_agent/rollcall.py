"""Attach Rollcall to an agent server: the line that users write."""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from livekit.agents import AgentServer

from rollcall_agent.logs import log_with_sdk
from rollcall_agent.qualification import Qualification
from rollcall_agent.settings import read_settings
from rollcall_agent.spool.spool import check_spool, folder_of
from rollcall_agent.transport import Transport
from rollcall_agent.ways import choose_transport
from rollcall_agent.worker.attached import AttachedWorker
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

_attached: "WeakKeyDictionary[AgentServer, Rollcall]" = WeakKeyDictionary()


class Rollcall:
    """Rollcall beside one `AgentServer`, from its `run` to its `aclose`.

    Does nothing until the server runs, and nothing at all where it is not registered at LiveKit (console
    mode) or where neither `ROLLCALL_URL` nor `REDIS_URL` is set. The other settings are those of the
    built-in agent (docs/configuration.md).

    redact: a function of a module, from text to text. It is given each turn before the turn leaves the job's
    process or reaches the disk. With it there are no captions, whose words come in pieces.
    qualification: what the agent's code knows in advance about the jobs that it could not do.
    transport: the way to Rollcall; by default the environment chooses it.
    drain: what an operator's order to drain does; by default what SIGTERM does.
    """

    def __init__(
        self,
        server: AgentServer,
        *,
        redact: Callable[[str], str] | None = None,
        qualification: Qualification | None = None,
        transport: Transport | None = None,
        drain: Callable[[], None] | None = None,
    ) -> None:
        self._server = server
        self._redact = redact
        self._qualification = qualification or Qualification()
        self._transport = transport
        self._drain_ordered = drain
        self._worker: AttachedWorker | None = None
        if server in _attached:  # `python -m rollcall_agent` runs a file that has the two lines
            return
        _attached[server] = self
        self._run_server, self._drain_server, self._close_server = server.run, server.drain, server.aclose
        # The SDK has no hooks for a server's start and end.
        server.run = self._run  # type: ignore[method-assign]
        server.drain = self._drain  # type: ignore[method-assign]
        server.aclose = self._aclose  # type: ignore[method-assign]

    async def _run(self, *, devmode: bool = False, unregistered: bool = False) -> None:
        if not unregistered:
            self._worker = await self._attach()
        await self._run_server(devmode=devmode, unregistered=unregistered)

    async def _attach(self) -> AttachedWorker | None:
        log_with_sdk()
        if not self._server._agent_name:
            why = "the agent has no name, and Rollcall dispatches to names: pass agent_name to rtc_session"
            log.warning("rollcall_not_attached", message=why)
            return None
        settings = read_settings(self._server, redacted=self._redact is not None)
        transport = self._transport or choose_transport(settings)
        if transport is None:
            why = (
                "set ROLLCALL_URL to the address of Rollcall's API, or REDIS_URL to that of its Redis;"
                " without them the agent runs on its own"
            )
            log.warning("rollcall_not_attached", message=why)
            return None
        check_spool(folder_of(settings))
        worker = AttachedWorker(
            self._server,
            settings=settings,
            transport=transport,
            redact=self._redact,
            qualification=self._qualification,
            drain=self._drain_ordered,
        )
        await worker.start()
        return worker

    async def _drain(self, *args: Any, **kwargs: Any) -> None:
        draining = asyncio.ensure_future(self._drain_server(*args, **kwargs))
        await asyncio.sleep(0)
        if self._worker is not None:
            self._worker.beat_now()
        await draining

    async def _aclose(self, *args: Any, **kwargs: Any) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            await self._close_server(*args, **kwargs)
            return
        await worker.stop()
        try:
            await self._close_server(*args, **kwargs)
        finally:
            await worker.aclose()
