"""The light joiner: an agent worker without job processes, which joins hundreds of rooms from one loop.

It speaks LiveKit's worker protocol itself: it registers, answers offers, and joins the room of each job that
it gets. It neither listens nor speaks. Full agents would measure the machine instead of the services.
`bench.joiners` runs it. It prints events as JSON lines, with wall-clock seconds as `at`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
import uuid

import aiohttp
from livekit import api
from livekit.protocol import agent, models

from bench.light_rooms import JoinFailed, LightRoom, LightRooms
from bench.standing import Standing
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Step
from shared.contracts.keys import LIVEKIT_AGENT_NAME_ATTRIBUTE
from shared.contracts.settings import LiveKitSettings, RedisSettings
from shared.contracts.workers import Refusal

# LiveKit offers no jobs to workers with a load of 0.7 or more, and learns of a load late.
FULL_LOAD = 0.69
STATUS_INTERVAL_S = 2.5
# As long as livekit-agents waits for the assignment of a job that it has accepted.
ASSIGNMENT_TIMEOUT_S = 7.5
CONNECT_TIMEOUT_S = 15.0
# More handshakes at once than this only slow each other down.
CONNECTS_AT_ONCE = 16
RECONNECT_S = 0.2


class Settings(LiveKitSettings, RedisSettings):
    """Where the servers are."""


def tell(event: str, **details: object) -> None:
    """Print an event."""
    # In one write, because the SDK's native part writes to the same file.
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **details}) + "\n")
    sys.stdout.flush()


def _registration(agent_name: str, deployment: str) -> agent.RegisterWorkerRequest:
    may = models.ParticipantPermission(can_publish=True, can_subscribe=True, agent=True)
    return agent.RegisterWorkerRequest(
        type=agent.JobType.JT_ROOM,
        agent_name=agent_name,
        deployment=deployment,
        version="bench",
        allowed_permissions=may,
    )


class Joiner:
    """One worker. `hold_s` is how long it stays in a room, if nobody closes the room sooner."""

    def __init__(
        self,
        settings: Settings,
        *,
        agent_name: str,
        slots: int,
        hold_s: float | None,
        behaviour: str,
        standing: Standing | None,
    ) -> None:
        self._settings = settings
        self._rooms = LightRooms()
        self._connects = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._agent_name = agent_name
        self._slots = slots
        self._hold_s = hold_s
        self._behaviour = behaviour
        self._standing = standing
        self._sockets: set[aiohttp.ClientWebSocketResponse] = set()
        self._came_by: dict[str, aiohttp.ClientWebSocketResponse] = {}  # by job
        self._assignments: dict[str, asyncio.Future[agent.JobAssignment]] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._inside: dict[str, LightRoom] = {}

    async def run(self) -> None:
        """Serve until cancelled, through any number of restarts of the server.

        As our own agent worker it registers twice: by its name, and under an address.
        """
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as both:
            both.create_task(self._keep_serving(http, addressed=False))
            if self._standing is not None:
                both.create_task(self._keep_serving(http, addressed=True))

    async def _keep_serving(self, http: aiohttp.ClientSession, *, addressed: bool) -> None:
        while True:
            try:
                await self._serve(http, address=f"rollcall-{uuid.uuid4().hex}" if addressed else None)
            except (aiohttp.ClientError, OSError, TimeoutError, ConnectionError) as error:
                tell("disconnected", error=repr(error))
            if self._standing is not None:
                self._standing.addressed(None) if addressed else self._standing.unregistered()
            await asyncio.sleep(RECONNECT_S)

    async def _serve(self, http: aiohttp.ClientSession, *, address: str | None) -> None:
        settings = self._settings
        token = api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
        bearer = token.with_grants(api.VideoGrants(agent=True)).to_jwt()
        url = f"{settings.livekit_url}/agent"
        async with http.ws_connect(
            url, headers={"Authorization": f"Bearer {bearer}"}, heartbeat=10
        ) as socket:
            registration = _registration(self._agent_name, address or "")
            await _send(socket, agent.WorkerMessage(register=registration))
            await self._registered(await socket.receive_bytes(), address)
            self._sockets.add(socket)
            status = asyncio.create_task(self._keep_telling_status())
            try:
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        await self._handle(message.data, socket)
            finally:
                status.cancel()
                self._sockets.discard(socket)

    async def _registered(self, answer: bytes, address: str | None) -> None:
        message = agent.ServerMessage.FromString(answer)
        if not message.HasField("register"):
            raise ConnectionError("LiveKit did not register the worker")
        if address is not None and self._standing is not None:
            self._standing.addressed(address)
            tell("addressed", address=address)
            return
        if self._standing is not None:
            await self._standing.registered(message.register.worker_id)
        tell("registered", worker=message.register.worker_id)

    async def _keep_telling_status(self) -> None:
        while True:
            load = FULL_LOAD * min(1.0, len(self._jobs) / self._slots)
            update = agent.UpdateWorkerStatus(load=load, status=agent.WorkerStatus.WS_AVAILABLE)
            for socket in list(self._sockets):
                await _send(socket, agent.WorkerMessage(update_worker=update))
            await asyncio.sleep(STATUS_INTERVAL_S)

    async def _handle(self, data: bytes, socket: aiohttp.ClientWebSocketResponse) -> None:
        message = agent.ServerMessage.FromString(data)
        kind = message.WhichOneof("message")
        if kind == "availability":
            self._came_by[message.availability.job.id] = socket
            await self._offered(message.availability.job)
        elif kind == "assignment":
            future = self._assignments.pop(message.assignment.job.id, None)
            if future is not None and not future.done():
                future.set_result(message.assignment)
        elif kind == "termination":
            self._terminated(message.termination.job_id)

    def _terminated(self, job_id: str) -> None:
        # LiveKit also says this when the agent itself has just left, whose last steps must not be cut off.
        if room := self._inside.get(job_id):
            room.over.set()
        elif task := self._jobs.get(job_id):
            task.cancel()

    async def _offered(self, job: agent.Job) -> None:
        if self._behaviour == "hang":
            return
        if self._behaviour == "refuse":
            await self._answer(job, available=False, terminate=True)
            await self._report(job, Step.REJECTED, reason="refused")
        elif len(self._jobs) >= self._slots:
            await self._answer(job, available=False)
            tell("full", room=job.room.name)
            await self._report(job, Step.REJECTED, reason=Refusal.FULL)
        elif self._standing is not None and await self._standing.is_late(job):
            await self._answer(job, available=False, terminate=True)
        else:
            task = asyncio.create_task(self._take(job), name=job.id)
            self._jobs[job.id] = task
            task.add_done_callback(lambda _: self._over(job))
            self._changed()

    def _over(self, job: agent.Job) -> None:
        self._jobs.pop(job.id, None)
        self._inside.pop(job.id, None)
        self._assignments.pop(job.id, None)
        self._came_by.pop(job.id, None)
        if self._standing is not None:
            self._standing.forget(job.id)
        self._changed()

    def _changed(self) -> None:
        if self._standing is not None:
            self._standing.changed(len(self._jobs))

    async def _take(self, job: agent.Job) -> None:
        self._assignments[job.id] = assigned = asyncio.get_running_loop().create_future()
        if self._standing is not None:
            self._standing.serves(job)
        await self._report(job, Step.ACCEPTED, participant_identity=f"agent-{job.id}")
        await self._answer(job, available=True)
        try:
            async with asyncio.timeout(ASSIGNMENT_TIMEOUT_S):
                assignment = await assigned
        except TimeoutError:
            tell("unassigned", room=job.room.name)
            return
        await self._report(job, Step.ENTRYPOINT_STARTED)
        await self._attend(job, assignment)

    async def _attend(self, job: agent.Job, assignment: agent.JobAssignment) -> None:
        name, reason, room = job.room.name, "job_shutdown", None
        try:
            async with self._connects, asyncio.timeout(CONNECT_TIMEOUT_S):
                room = await self._rooms.join(assignment.url or self._settings.livekit_url, assignment.token)
            self._inside[job.id] = room
            tell("joined", room=name, job=job.id)
            await self._report(
                job, Step.CONNECTED, participant_identity=room.identity, participant_sid=room.sid
            )
            try:
                async with asyncio.timeout(self._hold_s):
                    await room.over.wait()
            except TimeoutError:
                reason = "task_completed"
        except (JoinFailed, TimeoutError) as error:
            tell("not_joined", room=name, job=job.id, error=repr(error))
            reason = "error"
        finally:
            if room is not None:
                await room.leave()
            tell("left", room=name, job=job.id, reason=reason)
            await self._report(job, Step.CLOSED, reason=reason, turns=0)

    async def _answer(self, job: agent.Job, *, available: bool, terminate: bool = False) -> None:
        order = DispatchOrder.of_job(attributes=job.attributes, metadata=job.metadata)
        attributes = order.attributes() if order is not None and self._standing is not None else {}
        answer = agent.AvailabilityResponse(
            job_id=job.id,
            available=available,
            terminate=terminate,
            participant_identity=f"agent-{job.id}",
            participant_attributes={LIVEKIT_AGENT_NAME_ATTRIBUTE: self._agent_name, **attributes},
        )
        await _send(self._came_by[job.id], agent.WorkerMessage(availability=answer))
        if not available:
            self._came_by.pop(job.id, None)

    async def _report(self, job: agent.Job, step: Step, **details: object) -> None:
        if self._standing is not None:
            await self._standing.report(job, step, **details)


async def _send(socket: aiohttp.ClientWebSocketResponse, message: agent.WorkerMessage) -> None:
    if not socket.closed:
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await socket.send_bytes(message.SerializeToString())


async def _main(options: argparse.Namespace) -> None:
    settings = Settings()
    standing = None
    if options.ours:
        standing = Standing(settings.redis_url, agent_name=options.agent_name, slots=options.slots)
    limits = {"slots": options.slots, "hold_s": options.hold, "behaviour": options.behaviour}
    joiner = Joiner(settings, agent_name=options.agent_name, standing=standing, **limits)
    work = asyncio.gather(joiner.run(), *([standing.run()] if standing else []))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    if standing is not None:
        await standing.close()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent-name", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--hold", type=float, help="seconds in a room; default: until the room closes")
    parser.add_argument("--behaviour", choices=["serve", "refuse", "hang"], default="serve")
    parser.add_argument("--ours", action="store_true", help="heartbeats and reports, as our own agent sends")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
