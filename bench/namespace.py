"""A network namespace whose processes reach a stack's LiveKit and Redis servers, until it is cut off.

The namespace has a loopback of its own. On it, this process listens at the ports of both servers and passes
on what comes, TCP and UDP. Once the namespace's loopback is down, the kernel drops every packet in both
directions, and no end learns that the other is gone: as when a host vanishes.
"""

import asyncio
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import yaml

from bench.options import BenchFailed
from devstack.stack import Stack
from shared.platform.background import stop_all

CLONE_NEWNET: Final = 0x40000000
LOOPBACK: Final = "127.0.0.1"
# WebRTC wants an interface that is no loopback. The address is of a range for benchmarks (RFC 2544).
INTERFACE: Final = "worker"
ADDRESS: Final = "198.18.77.1/32"
CHUNK: Final = 65_536


@dataclass(frozen=True)
class Namespace:
    """A namespace. `command` runs what follows it in there."""

    name: str
    command: tuple[str, ...]

    async def cut(self) -> None:
        """Drop every packet from now on."""
        await _ip("-n", self.name, "link", "set", "lo", "down")


@asynccontextmanager
async def running_namespace(stack: Stack) -> AsyncIterator[Namespace]:
    """Make a namespace for a worker of this stack; raises OSError if the machine does not allow it."""
    name = f"rollcall-bench-{os.getpid()}"
    async with AsyncExitStack() as undo:
        await _ip("netns", "add", name)
        undo.push_async_callback(_ip, "netns", "del", name)
        await _ip("-n", name, "link", "set", "lo", "up")
        await _ip("-n", name, "link", "add", INTERFACE, "type", "veth", "peer", "name", "peer")
        await _ip("-n", name, "addr", "add", ADDRESS, "dev", INTERFACE)
        for end in (INTERFACE, "peer"):
            await _ip("-n", name, "link", "set", end, "up")
        for url in (stack.livekit_url, stack.redis_url):
            await undo.enter_async_context(_streams_passed_on(name, _port_of(url)))
        media = yaml.safe_load((stack.state / "livekit.yaml").read_text())["rtc"]["udp_port"]
        await undo.enter_async_context(_datagrams_passed_on(name, int(media)))
        # Joiners have no PATH.
        yield Namespace(name, ("/usr/bin/env", f"PATH={os.environ['PATH']}", "ip", "netns", "exec", name))


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    if port is None:
        raise BenchFailed(f"{url} names no port")
    return port


async def _ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    if process.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {error.decode().strip()}")


@contextmanager
def _inside(name: str) -> Iterator[None]:
    """Within the block, the sockets that this thread makes are the namespace's, and stay so."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(namespace: int) -> None:
        if libc.setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")

    with Path("/proc/thread-self/ns/net").open("rb") as ours, Path("/run/netns", name).open("rb") as its:
        enter(its.fileno())
        try:
            yield
        finally:
            enter(ours.fileno())


@asynccontextmanager
async def _streams_passed_on(name: str, port: int) -> AsyncIterator[None]:
    """Pass TCP connections on to a server of this machine."""
    writers: set[asyncio.StreamWriter] = set()
    copies: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection(LOOPBACK, port)
        writers.update((writer, to_server))
        copies.add(asyncio.create_task(_copy(reader, to_server)))
        copies.add(asyncio.create_task(_copy(upstream, writer)))

    with _inside(name):
        listening = socket.create_server((LOOPBACK, port))
    server = await asyncio.start_server(serve, sock=listening)
    try:
        yield
    finally:
        server.close()
        await stop_all(copies)
        for writer in writers:
            writer.transport.abort()  # a worker that was cut off would never take its last bytes


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # cut off: the other end must not learn of it
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
        target.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Passes datagrams on to a server of this machine, from a socket for each sender, and answers back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[Any, socket.socket] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # asyncio's own class for it is no `DatagramTransport` before Python 3.12.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, sender: Any) -> None:
        """Pass a datagram on."""
        with suppress(OSError):
            self._socket_of(sender).send(data)

    def _socket_of(self, sender: Any) -> socket.socket:
        if sender not in self._sockets:
            to_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            to_server.setblocking(False)
            to_server.connect((LOOPBACK, self._port))
            self._loop.add_reader(to_server, self._answer, to_server, sender)
            self._sockets[sender] = to_server
        return self._sockets[sender]

    def _answer(self, to_server: socket.socket, sender: Any) -> None:
        with suppress(OSError):
            data = to_server.recv(CHUNK)
            if self._transport is not None:
                self._transport.sendto(data, sender)

    def close(self) -> None:
        """Close every socket."""
        for to_server in self._sockets.values():
            self._loop.remove_reader(to_server)
            to_server.close()


@asynccontextmanager
async def _datagrams_passed_on(name: str, port: int) -> AsyncIterator[None]:
    with _inside(name):
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((LOOPBACK, port))
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(port), sock=listening)
    try:
        yield
    finally:
        protocol.close()
        transport.close()
