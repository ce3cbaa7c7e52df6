"""Rooms for hundreds of participants in one process, over the native library of LiveKit's SDK.

The SDK's own `rtc.Room` passes every event of every room to all other rooms, and every debug line of the
library to Python: with sixty rooms, that alone keeps one core busy. Here each event goes only to its own
room.
"""

import asyncio
import ctypes
from contextlib import suppress
from typing import Any, Final

from livekit.rtc._ffi_client import ffi_cb_fnc, get_ffi_lib
from livekit.rtc._proto import ffi_pb2, room_pb2

LAST_EVENT_S: Final = 5.0
_BYTE: Final = ctypes.POINTER(ctypes.c_ubyte)


class JoinFailed(Exception):
    """The room could not be joined."""


class LightRoom:
    """A joined room. `over` is set once there is nothing more to do in it."""

    def __init__(self, native: "LightRooms", joined: Any) -> None:
        self._native = native
        self.handle: int = joined.room.handle.id
        self._own_handles = [self.handle, joined.local_participant.handle.id]
        self.identity: str = joined.local_participant.info.identity
        self.sid: str = joined.local_participant.info.sid
        self.connected = True
        self.over = asyncio.Event()
        self._last_event = asyncio.Event()

    def closed(self, *, last: bool) -> None:
        """Note that the connection has ended. If `last`, no more events of this room will come."""
        self.connected = False
        self.over.set()
        if last:
            self._last_event.set()

    async def leave(self) -> None:
        """Leave the room, if it is not closed, and forget it."""
        if self.connected:
            await self._native.disconnect(self.handle)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_EVENT_S):
                await self._last_event.wait()
                # The library aborts the process if a freed room is used.
                self._native.free(self._own_handles)
        self._native.forget(self.handle)


class LightRooms:
    """The native library, with one callback for all rooms. Make one in a process, in the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._rooms: dict[int, LightRoom] = {}
        self._library = get_ffi_lib()
        self._library.livekit_ffi_initialize.argtypes = [
            ffi_cb_fnc,
            ctypes.c_bool,
            ctypes.c_char_p,
            ctypes.c_char_p,
        ]
        self._library.livekit_ffi_request.argtypes = [
            _BYTE,
            ctypes.c_size_t,
            ctypes.POINTER(_BYTE),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        self._library.livekit_ffi_request.restype = ctypes.c_uint64
        self._library.livekit_ffi_drop_handle.argtypes = [ctypes.c_uint64]
        self._library.livekit_ffi_drop_handle.restype = ctypes.c_bool
        # Kept here, since the library holds no reference to it. False means no log lines.
        self._callback = ffi_cb_fnc(self._on_event)
        self._library.livekit_ffi_initialize(self._callback, False, b"python", b"bench")

    def close(self) -> None:
        """Stop the library; every room is over."""
        self._library.livekit_ffi_dispose()

    async def join(self, url: str, token: str) -> LightRoom:
        """Join a room; raises `JoinFailed`."""
        options = room_pb2.RoomOptions(auto_subscribe=False, single_peer_connection=True)
        # Without DNS and without gathering candidates again, since the server is on this machine.
        options.rtc_config.continual_gathering_policy = room_pb2.ContinualGatheringPolicy.GATHER_ONCE
        options.rtc_config.ice_servers.add(urls=["stun:127.0.0.1:9"])
        connect = room_pb2.ConnectRequest(url=url, token=token, options=options)
        response = self._request(ffi_pb2.FfiRequest(connect=connect))
        answer = (await self._answer(response.connect.async_id)).connect
        if answer.error:
            raise JoinFailed(answer.error)
        room = LightRoom(self, answer.result)
        self._rooms[room.handle] = room
        ready = ffi_pb2.FfiRequest()
        ready.ready_for_room_event.room_handle = room.handle
        self._request(ready)
        return room

    async def disconnect(self, handle: int) -> None:
        """Say goodbye to the server."""
        disconnect = room_pb2.DisconnectRequest(room_handle=handle)
        response = self._request(ffi_pb2.FfiRequest(disconnect=disconnect))
        await self._answer(response.disconnect.async_id)

    def forget(self, handle: int) -> None:
        """Stop handling events of a room."""
        self._rooms.pop(handle, None)

    def free(self, handles: list[int]) -> None:
        """Let the library free the objects of these handles."""
        for handle in handles:
            self._library.livekit_ffi_drop_handle(handle)

    async def _answer(self, async_id: int) -> Any:
        self._answers[async_id] = future = self._loop.create_future()
        try:
            return await future
        finally:
            del self._answers[async_id]

    def _request(self, request: ffi_pb2.FfiRequest) -> Any:
        data = request.SerializeToString()
        pointer, length = _BYTE(), ctypes.c_size_t()
        handle = self._library.livekit_ffi_request(
            ctypes.cast(ctypes.c_char_p(data), _BYTE),
            len(data),
            ctypes.byref(pointer),
            ctypes.byref(length),
        )
        response = ffi_pb2.FfiResponse.FromString(ctypes.string_at(pointer, length.value))
        self._library.livekit_ffi_drop_handle(handle)
        return response

    def _on_event(self, data: Any, length: int) -> None:
        # Called on the library's threads.
        event = ffi_pb2.FfiEvent.FromString(ctypes.string_at(data, length))
        kind = event.WhichOneof("message")
        if kind in ("connect", "disconnect"):
            self._loop.call_soon_threadsafe(self._answered, getattr(event, kind).async_id, event)
        elif kind == "room_event":
            what = event.room_event.WhichOneof("message")
            if what in ("disconnected", "eos"):
                self._loop.call_soon_threadsafe(self._over, event.room_event.room_handle, what == "eos")

    def _answered(self, async_id: int, event: Any) -> None:
        future = self._answers.get(async_id)
        if future is not None and not future.done():
            future.set_result(event)

    def _over(self, handle: int, last: bool) -> None:
        if room := self._rooms.get(handle):
            room.closed(last=last)
