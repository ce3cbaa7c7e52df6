"""A connection to the API that is made anew whenever it ends."""

import asyncio
import random
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import ClientError, ClientSession, ClientWSTimeout, WSServerHandshakeError

from rollcall_agent.api.connection import CLOSE_S, Connection
from rollcall_agent.ports import ApiUnreachable
from shared.contracts.url_parts import public_url
from shared.platform.background import run_together, stop_all
from shared.platform.logs.logs import get_logger

CONNECT_S: Final = 5.0
# A ping after so many seconds without a frame; the connection is lost if half as long nothing comes back.
PING_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
# After an answer that somebody has to do something about.
REFUSED_PAUSE_S: Final = 5.0
WARN_INTERVAL_S: Final = 60.0
# The longest answer is a conversation: 200 turns of at most 128 KiB (`services.dispatcher`).
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024

_NOT_ROLLCALL: Final = "correct ROLLCALL_URL: there is no Rollcall, or one of an older version"
ADVICE: Final[dict[int, str]] = {
    HTTPStatus.OK: _NOT_ROLLCALL,
    HTTPStatus.UNAUTHORIZED: (
        "set ROLLCALL_API_KEY to a key of the scope agent; or leave it empty, and use the LiveKit key pair"
        " that Rollcall itself has"
    ),
    HTTPStatus.FORBIDDEN: "the key in ROLLCALL_API_KEY needs the scope agent (rollcall keys create)",
    HTTPStatus.NOT_FOUND: _NOT_ROLLCALL,
    HTTPStatus.TOO_MANY_REQUESTS: "too many workers or refused tries from here; it goes on by itself",
}

log = get_logger(__name__)


class Link:
    """Keeps a connection from `start` to `aclose`.

    bearer: what proves who this is, asked for before each handshake.
    """

    def __init__(
        self, url: str, *, bearer: Callable[[], str], headers: Mapping[str, str] | None = None
    ) -> None:
        self._url = url
        self._bearer = bearer
        self._headers = dict(headers or {})
        self._connection: Connection | None = None
        self._why = "not connected yet"
        self._settled = asyncio.Event()  # not set while a handshake is under way
        self._failures = 0
        self._quiet_until = float("-inf")
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the running loop, and stay connected."""
        self._keeping = asyncio.create_task(run_together(api_link=self._keep), name="api-link")

    async def aclose(self) -> None:
        """Close the connection for good."""
        if self._keeping is not None:
            await stop_all([self._keeping])

    async def connection(self) -> Connection:
        """Return the connection, after the handshake that may be under way; raises `ApiUnreachable`."""
        await self._settled.wait()
        if self._connection is None:
            raise ApiUnreachable(self._why)
        return self._connection

    async def _keep(self) -> None:
        async with ClientSession() as http:
            while True:
                self._settled.clear()
                try:
                    connection = await self._connect(http)
                except (ClientError, OSError, ValueError) as error:
                    pause = self._failed(error)
                else:
                    pause = await self._use(connection)
                await asyncio.sleep(pause)

    async def _connect(self, http: ClientSession) -> Connection:
        headers = {**self._headers, "Authorization": f"Bearer {self._bearer()}"}
        async with asyncio.timeout(CONNECT_S):
            socket = await http.ws_connect(
                self._url,
                headers=headers,
                heartbeat=PING_S,
                max_msg_size=MAX_ANSWER_BYTES,
                timeout=ClientWSTimeout(ws_close=CLOSE_S),
            )
        return Connection(socket)

    async def _use(self, connection: Connection) -> float:
        """Serve a connection to its end; return for how many seconds to wait then."""
        log.info("api_connected", url=public_url(self._url))
        self._quiet_until = float("-inf")
        self._connection = connection
        self._settled.set()
        try:
            self._why = await connection.serve()
        finally:
            self._connection = None
        log.warning("api_connection_lost", url=public_url(self._url), reason=self._why)
        if not connection.has_answered:
            return self._next_pause()
        self._failures = 0
        # All who were connected to an API that restarts come back.
        return LONGEST_PAUSE_S * _random()

    def _failed(self, error: Exception) -> float:
        """Tell of a handshake that failed; return for how many seconds to wait now."""
        self._why = _told(error)
        self._settled.set()
        advice = ADVICE.get(error.status) if isinstance(error, WSServerHandshakeError) else None
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + WARN_INTERVAL_S
            url = public_url(self._url)
            if advice is not None:
                log.error("api_refused", url=url, error=self._why, advice=advice)
            else:
                log.warning("api_unreachable", url=url, error=self._why)
        return self._next_pause() if advice is None else REFUSED_PAUSE_S * (0.8 + 0.2 * _random())

    def _next_pause(self) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        return longest * (0.5 + 0.5 * _random())


def _random() -> float:
    return random.random()  # noqa: S311


def _told(error: Exception) -> str:
    """The error in words. The `repr` of a refused handshake shows our own headers, with the key."""
    if isinstance(error, WSServerHandshakeError):
        return f"HTTP {error.status}"
    return f"{type(error).__name__}: {error}"
