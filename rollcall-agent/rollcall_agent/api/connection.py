"""One WebSocket to the API, from its handshake to its end: numbered requests, and the answer to each."""

import asyncio
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType
from pydantic import ValidationError

from rollcall_agent.ports import ApiUnreachable, CallRefused
from shared.contracts.agent_calls import MAX_FRAME_BYTES, Answer, AnyCall, CallRefusal, RefusalCode, Request
from shared.contracts.text import size_of
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger

CLOSE_S: Final = 1.0

log = get_logger(__name__)


class Connection:
    """Sends the requests that it is given, in order, while `serve` runs. Many may wait for their answers."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._has_told = False
        self.has_answered = False

    def ask(self, call: AnyCall) -> "asyncio.Future[Any]":
        """Send a call behind those before it; the future gets its result.

        The future raises `CallRefused`, or `ApiUnreachable` if the connection ends first. Raises
        `ApiUnreachable` if it has ended, and `ValueError` for a call that doesn't fit into a frame.
        """
        number = next(self._numbers)
        frame = Request(id=number, call=call).model_dump_json()
        if size_of(frame) > MAX_FRAME_BYTES:
            raise ValueError(f"a call of {size_of(frame)} bytes, at most {MAX_FRAME_BYTES}")
        if self._end.done():
            raise ApiUnreachable(self._end.result())
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        answer.add_done_callback(partial(self._forget, number))
        self._frames.put_nowait(frame)
        return answer

    async def serve(self) -> str:
        """Send and receive until the connection ends; return why it did."""
        tasks = [
            asyncio.create_task(self._send(), name="api-sender"),
            asyncio.create_task(self._receive(), name="api-receiver"),
        ]
        try:
            return await asyncio.shield(self._end)
        finally:
            self.drop("this side closed it")
            for answer in list(self._asked.values()):
                if not answer.done():
                    answer.set_exception(ApiUnreachable(self._end.result()))
            await stop_all(tasks)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close()

    def drop(self, why: str) -> None:
        """End the connection, unless it has ended."""
        if not self._end.done():
            self._end.set_result(why)

    async def _send(self) -> None:
        try:
            while True:
                await self._socket.send_str(await self._frames.get())
        except (OSError, ClientError) as error:
            self.drop(repr(error))

    async def _receive(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self._take(message.data)
        error = self._socket.exception()
        self.drop(repr(error) if error else f"closed with code {self._socket.close_code}")

    def _take(self, frame: str) -> None:
        try:
            answer = Answer.model_validate_json(frame)
        except ValidationError as invalid:
            self._tell_once(invalid)
            return
        self.has_answered = True
        asked = self._asked.get(answer.id)
        if asked is None or asked.done():
            return  # whoever asked waits no more
        if answer.refusal is None:
            asked.set_result(answer.result)
        else:
            asked.set_exception(_as_error(answer.refusal))

    def _forget(self, number: int, answer: "asyncio.Future[Any]") -> None:
        del self._asked[number]
        if not answer.cancelled():
            answer.exception()  # not everybody waits for the answer

    def _tell_once(self, invalid: ValidationError) -> None:
        if not self._has_told:
            self._has_told = True
            faults = invalid.errors(include_input=False, include_url=False)
            log.warning("api_answer_unreadable", error=str(faults[:3]))


def _as_error(refusal: CallRefusal) -> Exception:
    if refusal.code is RefusalCode.UNAVAILABLE:
        return ApiUnreachable(refusal.detail)
    return CallRefused(refusal.code, refusal.detail)
