"""The WebSocket of an agent worker or a job, frame by frame, as anybody may write one."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from shared.contracts.agent_calls import JOB_PATH, WORKER_PATH, Call


class AgentSocket:
    """A client of one socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def ask(self, call: Call) -> Any:
        """Make a call and return its result. Raises `AssertionError` if it is refused."""
        answer = await self.answer(call)
        assert "refusal" not in answer, answer
        return answer.get("result")

    async def refusal(self, call: Call) -> str:
        """Make a call that is refused, and return the code."""
        answer = await self.answer(call)
        return str(answer["refusal"]["code"])

    async def answer(self, call: Call) -> dict[str, Any]:
        """Make a call, and return the frame of its answer."""
        self._number += 1
        await self.send(json.dumps({"id": self._number, "call": call.model_dump(mode="json")}))
        answer = await self.receive()
        assert answer["id"] == self._number
        return answer

    async def send(self, frame: str) -> None:
        """Send any text."""
        await self._socket.send_str(frame)

    async def receive(self) -> dict[str, Any]:
        """Return the next answer."""
        answer: dict[str, Any] = await self._socket.receive_json(timeout=30)
        return answer

    async def close_code(self) -> int | None:
        """Wait for the end of the socket, and return its code."""
        while not self._socket.closed:
            await self._socket.receive(timeout=30)
        return self._socket.close_code


@asynccontextmanager
async def worker_socket(url: str, bearer: str) -> AsyncIterator[AgentSocket]:
    """Open a worker's socket. Raises `aiohttp.WSServerHandshakeError` if it is refused."""
    async with _opened(f"{url}{WORKER_PATH}", {"Authorization": f"Bearer {bearer}"}) as socket:
        yield socket


@asynccontextmanager
async def job_socket(url: str, bearer: str, *, worker_id: str = "worker-1") -> AsyncIterator[AgentSocket]:
    """Open a job's socket; raises like `worker_socket`."""
    headers = {"Authorization": f"Bearer {bearer}", "X-Rollcall-Worker": worker_id}
    async with _opened(f"{url}{JOB_PATH}", headers) as socket:
        yield socket


@asynccontextmanager
async def _opened(url: str, headers: dict[str, str]) -> AsyncIterator[AgentSocket]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, headers=headers, max_msg_size=0) as socket,
    ):
        yield AgentSocket(socket)
