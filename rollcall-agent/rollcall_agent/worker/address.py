"""Register the worker at LiveKit a second time, under an address of its own.

A dispatch's `deployment` is part of the key by which LiveKit 1.13.5 seeks a worker (`workerKey` in
pkg/service/agentservice.go). So a worker that registers under its agent name and a deployment that nobody
else has, gets every dispatch that names it, and no other. Its first registration, the SDK's own, stays: a
dispatch by name still finds it.

The SDK's worker has one websocket. This module keeps a second one and hands what comes over it to the
SDK's own handlers; what they answer goes back over the websocket by which the job came. It is the only
module that touches the SDK's private names (livekit-agents 1.8.9, worker.py). A test says which are gone.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import aiohttp
from livekit import api
from livekit.agents import AgentServer, AssignmentTimeoutError
from livekit.agents.utils.aio import ChanClosed
from livekit.agents.version import __version__ as sdk_version
from livekit.protocol import agent as protocol
from livekit.protocol import models

from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# What of the SDK's worker is used here, besides what it publishes.
SDK_NAMES: Final = (
    "_agent_name",
    "_api_key",
    "_api_secret",
    "_connecting",
    "_handle_assignment",
    "_handle_availability",
    "_handle_termination",
    "_http_proxy",
    "_http_session",
    "_job_lifecycle_tasks",
    "_pending_assignments",
    "_permissions",
    "_queue_msg",
    "_server_type",
    "_update_worker_status",
    "_worker_token",
    "_ws_url",
)
CONNECT_S = 10.0
SEND_S = 5.0
# A peer that is cut off is noticed after one and a half of these.
PING_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
# A registration that stood for so long did not fail: the next pause is the first again.
STOOD_S = 10.0
# More than a worker has jobs; older ones were offered and not taken.
MOST_JOBS = 2000
_ENDED = (protocol.JobStatus.JS_SUCCESS, protocol.JobStatus.JS_FAILED)


@dataclass(frozen=True)
class Registration:
    """One registration under an address that was never used before. `worker_id` is LiveKit's."""

    address: str
    worker_id: str
    socket: aiohttp.ClientWebSocketResponse


def new_address() -> str:
    """Return a deployment name that nobody else has, and nobody guesses. LiveKit allows 64 bytes, no `_`."""
    return f"rollcall-{uuid4().hex}"


def is_connected(server: AgentServer) -> bool:
    """Whether the worker is registered now. The SDK has an event for it, but none for the opposite."""
    return server.id != "unregistered" and not server._connecting


class Address:
    """Keeps the second registration of a running worker.

    Every registration has a new address, since LiveKit may still hold the websocket of an earlier one.
    """

    def __init__(self, server: AgentServer) -> None:
        self._server: Any = server
        self._registered = asyncio.Event()
        self._stopped = asyncio.Event()
        self._standing: Registration | None = None
        self._jobs: dict[str, Registration] = {}  # by job, of those that were offered under an address
        self._to_server_socket: Any = None

    @property
    def address(self) -> str | None:
        """The deployment under which this worker alone is registered; None while it is not."""
        return None if self._standing is None else self._standing.address

    @property
    def worker_id(self) -> str | None:
        """The id that LiveKit gave this registration."""
        return None if self._standing is None else self._standing.worker_id

    def came_by(self, job_id: str) -> str | None:
        """Return the address under which a job was offered; None: under the worker's own deployment."""
        offered = self._jobs.get(job_id)
        return None if offered is None else offered.address

    def worker_registered(self) -> None:
        """The SDK has registered the worker: a second registration may follow."""
        self._registered.set()

    async def run(self) -> None:
        """Keep the registration until `stop`."""
        await self._registered.wait()
        gone = [name for name in SDK_NAMES if not hasattr(self._server, name)]
        if gone:
            log.error("address_unsupported", sdk_version=sdk_version, missing=gone)
            await self._stopped.wait()
        if self._to_server_socket is None:
            self._to_server_socket = self._server._queue_msg
            self._server._queue_msg = self._send
        pause_s = FIRST_PAUSE_S
        while not self._stopped.is_set():
            began_at = asyncio.get_running_loop().time()
            try:
                await self._register()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError) as error:
                log.warning("address_not_registered", error=repr(error), retry_in_s=round(pause_s, 1))
            if asyncio.get_running_loop().time() - began_at >= STOOD_S:
                pause_s = FIRST_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.75, 1.25)):  # noqa: S311
                    await self._stopped.wait()
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def stop(self) -> None:
        """Leave the address; the jobs that came by it go on."""
        self._stopped.set()
        if self._standing is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self._standing.socket.close()

    async def _register(self) -> None:
        """Register under a new address, and take what comes until the websocket ends."""
        async with asyncio.timeout(CONNECT_S):
            socket = await self._connect()
        try:
            async with asyncio.timeout(CONNECT_S):
                registration = await self._introduce(socket)
            if self._stopped.is_set():
                return
            self._jobs = {job: by for job, by in self._jobs.items() if not by.socket.closed}
            self._standing = registration
            log.info("address_registered", address=registration.address, worker_id=registration.worker_id)
            with suppress(ChanClosed):
                await self._server._update_worker_status()
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self._take(registration, message.data)
        finally:
            if self._standing is not None:
                self._standing = None
                log.info("address_left", code=socket.close_code)
            with suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(SEND_S):
                    await socket.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        server = self._server
        token = (
            api.AccessToken(server._api_key, server._api_secret)
            .with_grants(api.VideoGrants(agent=True))
            .to_jwt()
        )
        url = urlsplit(server._ws_url)
        base = url._replace(scheme=url.scheme.replace("http", "ws"), query="", fragment="").geturl()
        socket: aiohttp.ClientWebSocketResponse = await server._http_session.ws_connect(
            urljoin(base.rstrip("/") + "/", "agent"),
            headers={"Authorization": f"Bearer {token}"},
            params={"worker_token": server._worker_token} if server._worker_token else {},
            proxy=server._http_proxy or None,
            heartbeat=PING_S,
        )
        return socket

    async def _introduce(self, socket: aiohttp.ClientWebSocketResponse) -> Registration:
        server, address = self._server, new_address()
        may = server._permissions
        request = protocol.WorkerMessage()
        request.register.type = server._server_type.value
        request.register.allowed_permissions.CopyFrom(
            models.ParticipantPermission(
                can_publish=may.can_publish,
                can_subscribe=may.can_subscribe,
                can_publish_data=may.can_publish_data,
                can_update_metadata=may.can_update_metadata,
                can_publish_sources=may.can_publish_sources,
                hidden=may.hidden,
                agent=True,
            )
        )
        request.register.agent_name = server._agent_name
        request.register.deployment = address
        request.register.version = sdk_version
        await socket.send_bytes(request.SerializeToString())
        reply = protocol.ServerMessage.FromString(await socket.receive_bytes())
        if not reply.HasField("register"):
            raise ValueError("LiveKit's first word was not that the worker is registered")
        return Registration(address, reply.register.worker_id, socket)

    def _take(self, registration: Registration, data: bytes) -> None:
        """Hand one message of LiveKit to the SDK, as its own websocket does."""
        server = self._server
        message = protocol.ServerMessage.FromString(data)
        kind = message.WhichOneof("message")
        if kind == "availability":
            while len(self._jobs) >= MOST_JOBS:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[message.availability.job.id] = registration
            server._handle_availability(message.availability)
        elif kind == "assignment":
            server._handle_assignment(message.assignment)
        elif kind == "termination":
            task = asyncio.ensure_future(server._handle_termination(message.termination))
            server._job_lifecycle_tasks.add(task)
            task.add_done_callback(server._job_lifecycle_tasks.discard)

    async def _send(self, message: protocol.WorkerMessage) -> None:
        """Send what the SDK has to say by the websocket that it concerns: that of the job, or both."""
        kind = message.WhichOneof("message")
        if kind == "availability":
            await self._answer(message)
        elif kind == "update_job" and (by := self._jobs.get(message.update_job.job_id)) is not None:
            if message.update_job.status in _ENDED:
                del self._jobs[message.update_job.job_id]
            await _deliver(message, by)
        elif kind == "migrate_job":
            await self._report_jobs(message)
        else:
            await self._to_server_socket(message)
            if kind == "update_worker" and self._standing is not None:
                await _deliver(message, self._standing)

    async def _answer(self, message: protocol.WorkerMessage) -> None:
        answer = message.availability
        by = self._jobs.get(answer.job_id)
        if by is None:
            await self._to_server_socket(message)
            return
        if not answer.available:
            del self._jobs[answer.job_id]
        if not await _deliver(message, by) and answer.available:
            # LiveKit has lost this registration, and with it the job.
            self._server._pending_assignments.pop(answer.job_id, None)
            raise AssignmentTimeoutError

    async def _report_jobs(self, message: protocol.WorkerMessage) -> None:
        """Leave out the jobs that another registration, which stands, answers for."""
        job_ids = [
            job_id
            for job_id in message.migrate_job.job_ids
            if (by := self._jobs.get(job_id)) is None or by.socket.closed
        ]
        if job_ids:
            report = protocol.MigrateJobRequest(job_ids=job_ids)
            await self._to_server_socket(protocol.WorkerMessage(migrate_job=report))


async def _deliver(message: protocol.WorkerMessage, by: Registration) -> bool:
    """Send by this registration's websocket; return False if it is broken."""
    try:
        async with asyncio.timeout(SEND_S):
            await by.socket.send_bytes(message.SerializeToString())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.debug("address_broken", error=repr(error))
        return False
    return True
