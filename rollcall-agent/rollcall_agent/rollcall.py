"""Attach Rollcall to an agent server: the line that users write."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from livekit.agents import AgentServer

from rollcall_agent.direct import choose_transport
from rollcall_agent.logs import log_with_sdk
from rollcall_agent.settings import read_settings
from rollcall_agent.worker import AttachedWorker
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

_attached: "WeakKeyDictionary[AgentServer, Rollcall]" = WeakKeyDictionary()


class Rollcall:
    """Rollcall beside one `AgentServer`, from its `run` to its `aclose`.

    Does nothing until the server runs, and nothing at all where it is not registered at LiveKit (console
    mode) or where `REDIS_URL` is not set. The other settings are those of the built-in agent
    (docs/configuration.md).

    redact: a function of a module, from text to text. It is given each turn before the turn leaves the job's
    process or reaches the disk. With it there are no captions, whose words come in pieces.
    """

    def __init__(self, server: AgentServer, *, redact: Callable[[str], str] | None = None) -> None:
        self._server = server
        self._redact = redact
        self._worker: AttachedWorker | None = None
        if server in _attached:  # `python -m rollcall_agent` runs a file that has the two lines
            return
        _attached[server] = self
        self._run_server, self._close_server = server.run, server.aclose
        # The SDK has no hooks for a server's start and end.
        server.run = self._run  # type: ignore[method-assign]
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
        transport = choose_transport(settings)
        if transport is None:
            why = "set REDIS_URL to that of Rollcall; without it the agent runs on its own"
            log.warning("rollcall_not_attached", message=why)
            return None
        worker = AttachedWorker(self._server, settings=settings, transport=transport, redact=self._redact)
        await worker.start()
        return worker

    async def _aclose(self, *args: Any, **kwargs: Any) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stopping.announce()
        await self._close_server(*args, **kwargs)
        if worker is not None:
            await worker.aclose()
