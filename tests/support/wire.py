"""A TCP connection that can be cut silently: nothing arrives, and neither side is notified."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Wire:
    """Listens on `port` and passes everything on; while it is cut, bytes wait.

    `upstream`, a port of this host or the path of a socket, may be set: the next connections go there.
    """

    def __init__(self, upstream: int | Path) -> None:
        self.upstream = upstream
        self._whole = asyncio.Event()
        self._whole.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Let nothing through from now on, in either direction."""
        self._whole.clear()

    def mend(self) -> None:
        """Deliver the waiting bytes, if both ends are still connected."""
        self._whole.set()

    async def drop(self) -> None:
        """Close every connection; waiting bytes are lost."""
        dropped = list(self._pumps)
        for pump in dropped:
            pump.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._whole.wait()
            there, back = await self._connect()
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._pumps.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(self.upstream)
        return await asyncio.open_connection("127.0.0.1", self.upstream)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65_536):
                    await self._whole.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def open_wire(upstream: int | Path) -> AsyncIterator[Wire]:
    """A wire to a port of this host, or to a socket."""
    wire = Wire(upstream)
    await wire.open()
    try:
        yield wire
    finally:
        await wire.close()
