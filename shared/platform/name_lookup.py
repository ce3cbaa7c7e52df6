"""Look up host names that clients chose, on threads of their own.

`loop.getaddrinfo` shares a few threads with all other blocking code, and the C library's resolver takes up to
half a minute for a name whose server is silent. Here each project has a few threads, and a caller waits for
an address only until the time limit. A thread can't be stopped, so it counts until it ends.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

MOST_LOOKUPS: Final = 64
MOST_OF_A_PROJECT: Final = 4
TIMEOUT_S: Final = 5.0

ASKING: Final[ContextVar[str]] = ContextVar("ASKING", default="")
"""The project for which names are looked up now. aiohttp's resolver can't take it as an argument."""

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]


class _Share:
    def __init__(self) -> None:
        self.places = asyncio.Semaphore(MOST_OF_A_PROJECT)
        self.users = 0


class Names:
    """Looks names up. A process has one, for its loop."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(MOST_LOOKUPS)
        self._shares: dict[str, _Share] = {}

    async def look_up(
        self, host: str, port: int | None, *, project: str, family: int = socket.AF_UNSPEC, flags: int = 0
    ) -> list[AddressInfo]:
        """Like `socket.getaddrinfo` for streams; raises `OSError`, or `TimeoutError` after the time limit."""
        answer: asyncio.Future[list[AddressInfo]] = asyncio.get_running_loop().create_future()
        looking = asyncio.create_task(self._look_up(answer, project, host, port, family, flags))
        _RUNNING.add(looking)
        looking.add_done_callback(_RUNNING.discard)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise TimeoutError(f"no name server has answered within {self._timeout_s:g} s") from None
        finally:
            answer.cancel()

    async def _look_up(self, answer: "asyncio.Future[list[AddressInfo]]", project: str, *asked: Any) -> None:
        """Look the name up, and keep the place until the thread ends, even if the caller no longer waits."""
        async with self._place(project):
            if answer.done():
                return  # the caller gave up before there was a place
            await _in_a_thread(answer, *asked)

    @asynccontextmanager
    async def _place(self, project: str) -> AsyncIterator[None]:
        share = self._shares.setdefault(project, _Share())
        share.users += 1
        try:
            async with AsyncExitStack() as held:
                await held.enter_async_context(share.places)
                await held.enter_async_context(self._places)
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[project]


# asyncio keeps only weak references to tasks.
_RUNNING: set["asyncio.Task[None]"] = set()


async def _in_a_thread(
    answer: "asyncio.Future[list[AddressInfo]]", host: str, port: int | None, family: int, flags: int
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(found: list[AddressInfo] | None, error: Exception | None) -> None:
        ended.set()
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found or [])

    def ask() -> None:
        found, error = None, None
        try:
            found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=flags)
        except (OSError, UnicodeError) as refused:
            error = refused
        try:
            loop.call_soon_threadsafe(tell, found, error)
        except RuntimeError:
            return  # the loop has ended meanwhile

    # A daemon thread: the process does not wait for a name server when it ends.
    threading.Thread(target=ask, name="name-lookup", daemon=True).start()
    await ended.wait()


class NamesForAiohttp(AbstractResolver):
    """The resolver of an aiohttp client, for the project in `ASKING`."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        found = await self._names.look_up(
            host, port, project=ASKING.get(), family=family, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host,
                host=_numeric(address),
                port=address[1],
                family=of,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """See `AbstractResolver.close`."""


def _numeric(address: tuple[Any, ...]) -> str:
    scope = address[3] if len(address) > 3 else 0  # the interface of a link-local address
    return f"{address[0]}%{scope}" if scope and "%" not in address[0] else str(address[0])
