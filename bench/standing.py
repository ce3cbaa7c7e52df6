"""Heartbeats and reports for the light joiner, as our own agent worker sends them."""

import asyncio
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from livekit.protocol import agent

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentReported, Envelope, Step, wrap
from shared.contracts.keys import FENCE_CLOSED, REPORTS_STREAM, fence_key
from shared.contracts.workers import WorkerHeartbeat
from shared.core.workers.registry import HEARTBEAT_INTERVAL_S, remove_worker, write_heartbeat
from shared.platform.redis.client import connect_redis
from shared.platform.redis.streams import UNREACHABLE, publish

SOURCE = "rollcall/bench"
# Many jobs change at the same moment; one heartbeat covers all of them.
GATHER_S = 0.01
RETRY_S = 0.2


class Standing:
    """Sends one joiner's heartbeats, and its reports in order and in batches."""

    def __init__(self, redis_url: str, *, agent_name: str, slots: int) -> None:
        self._redis = connect_redis(redis_url)
        self._agent_name = agent_name
        self._slots = slots
        self._active = 0
        self._worker_id: str | None = None
        self._address: str | None = None
        self._registered = False
        self._sessions: dict[str, str] = {}
        self._started_at = datetime.now(UTC)
        self._beat_now = asyncio.Event()
        self._reports: asyncio.Queue[Envelope] = asyncio.Queue()

    async def run(self) -> None:
        """Send heartbeats and reports until cancelled."""
        await asyncio.gather(self._keep_beating(), self._keep_reporting())

    async def close(self) -> None:
        """Leave the registry."""
        if self._worker_id is not None:
            with suppress(*UNREACHABLE):  # then the heartbeat expires
                await remove_worker(self._redis, self._worker_id)
        await self._redis.aclose()

    async def registered(self, worker_id: str) -> None:
        """Note that LiveKit has registered the worker under this id."""
        former, self._worker_id = self._worker_id, worker_id
        self._registered = True
        if former is not None:
            with suppress(*UNREACHABLE):
                await remove_worker(self._redis, former)
        await self._beat()

    def addressed(self, address: str | None) -> None:
        """Note the address under which the worker is registered a second time; None if it is not any more."""
        self._address = address
        self._beat_now.set()

    def unregistered(self) -> None:
        """Note that the connection to LiveKit is lost."""
        self._registered = False
        self._beat_now.set()

    def changed(self, active: int) -> None:
        """Set how many slots are taken now."""
        self._active = active
        self._beat_now.set()

    def serves(self, job: agent.Job) -> None:
        """Note that a job was accepted."""
        order = DispatchOrder.of_job(attributes=job.attributes, metadata=job.metadata)
        if order is not None:
            self._sessions[job.id] = order.session_id
            self._beat_now.set()

    def forget(self, job_id: str) -> None:
        """Note that a job is over."""
        self._sessions.pop(job_id, None)

    async def is_late(self, job: agent.Job) -> bool:
        """Return whether the current attempt is later than this job's."""
        order = DispatchOrder.of_job(attributes=job.attributes, metadata=job.metadata)
        if order is None:
            return False
        try:
            fence = await self._redis.get(fence_key(order.session_id))
        except UNREACHABLE:
            return False
        return fence == FENCE_CLOSED or (fence is not None and int(fence) > order.attempt)

    async def report(self, job: agent.Job, step: Step, **details: Any) -> None:
        """Report a step of a job that Rollcall dispatched."""
        order = DispatchOrder.of_job(attributes=job.attributes, metadata=job.metadata)
        if order is None or self._worker_id is None:
            return
        event = AgentReported(
            session_id=order.session_id,
            attempt=order.attempt,
            step=step,
            room_name=job.room.name,
            room_sid=job.room.sid or None,
            worker_id=self._worker_id,
            agent_name=self._agent_name,
            job_id=job.id,
            **details,
        )
        self._reports.put_nowait(
            wrap(event, session_id=order.session_id, source=SOURCE, time=datetime.now(UTC))
        )

    async def _keep_reporting(self) -> None:
        while True:
            batch = [await self._reports.get()]
            while not self._reports.empty():
                batch.append(self._reports.get_nowait())
            while True:
                try:
                    await publish(self._redis, REPORTS_STREAM, batch)
                    break
                except UNREACHABLE:
                    await asyncio.sleep(RETRY_S)

    async def _keep_beating(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_INTERVAL_S):
                    await self._beat_now.wait()
            await asyncio.sleep(GATHER_S)
            self._beat_now.clear()
            await self._beat()

    async def _beat(self) -> None:
        if self._worker_id is None:
            return
        heartbeat = WorkerHeartbeat(
            worker_id=self._worker_id,
            agent_name=self._agent_name,
            address=self._address,
            host=socket.gethostname(),
            pid=os.getpid(),
            version="bench",
            livekit_url="bench",
            load=min(1.0, self._active / self._slots),
            active_jobs=self._active,
            max_jobs=self._slots,
            registered=self._registered,
            started_at=self._started_at,
            beat_at=datetime.now(UTC),
            sessions=list(self._sessions.values()),
        )
        with suppress(*UNREACHABLE):  # the next heartbeat comes in a second
            await write_heartbeat(self._redis, heartbeat)
