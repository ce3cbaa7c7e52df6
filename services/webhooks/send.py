"""Send one webhook: only to an allowed address, within a time limit, and without following redirects."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from aiohttp import AddrInfoType, ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from services.webhooks.schedule import read_retry_after
from shared.contracts.text import clean, cut
from shared.core.webhooks.targets import ForbiddenTarget, TargetPolicy
from shared.platform.clock import Clock
from shared.platform.name_lookup import ASKING, NamesForAiohttp

_MAX_ERROR_BYTES: Final = 500
_GONE: Final = 410


class Outcome(StrEnum):
    """The outcome of one attempt."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # any other answer
    REDIRECTED = "redirected"
    GONE = "gone"  # 410: never again
    FORBIDDEN = "forbidden_target"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNSENDABLE = "unsendable"  # the fault is ours: its event is gone, or its secret can't be read


@dataclass(frozen=True)
class Reply:
    """The outcome of one attempt, and when the endpoint wants the next one, if it said so."""

    outcome: Outcome
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None
    not_before: datetime | None = None


class Sender:
    """An asynchronous context manager that keeps connections open.

    It never reads an answer's body: nothing here needs the body, it could be endless, and a person who
    registers an endpoint must not read internal pages through us.
    """

    def __init__(self, *, policy: TargetPolicy, timeout_s: float, limit: int, now: Clock) -> None:
        self._policy = policy
        self._timeout = ClientTimeout(total=timeout_s)
        self._limit = limit
        self._now = now
        self._http: ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        # aiohttp calls the factory for each address before connecting to it, however the URL spells the
        # address.
        connector = TCPConnector(
            limit=self._limit,
            socket_factory=self._checked_socket,
            resolver=NamesForAiohttp(self._policy.names),
        )
        self._http = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.close()

    async def post(self, url: str, body: str, headers: Mapping[str, str], *, project: str = "") -> Reply:
        """Send, and return the outcome. Whatever the endpoint does, this raises nothing."""
        if self._http is None:
            raise RuntimeError("the sender is not open")
        ASKING.set(project)
        started = time.monotonic()
        try:
            target = self._policy.check_url(url)
            async with self._http.post(
                target, data=body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                seconds = time.monotonic() - started
                wanted = read_retry_after(answer.headers.get("Retry-After"), now=self._now())
                return _judged(answer.status, seconds, wanted)
        except ForbiddenTarget as forbidden:
            outcome, text = Outcome.FORBIDDEN, str(forbidden)
        except TimeoutError:
            outcome, text = Outcome.TIMEOUT, f"no answer in {self._timeout.total:g} s"
        except (ClientError, OSError, ValueError) as error:
            outcome, text = _failure(error)
        return Reply(outcome, time.monotonic() - started, error=cut(clean(text), _MAX_ERROR_BYTES))

    def _checked_socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        try:
            self._policy.check_address(str(address[0]))
        except ForbiddenTarget as forbidden:
            raise _Forbidden(str(forbidden)) from None
        return socket.socket(family, kind, protocol)


class _Forbidden(PermissionError):
    """Like `ForbiddenTarget`, but of a type that aiohttp passes on."""


def _judged(status: int, seconds: float, not_before: datetime | None) -> Reply:
    if 200 <= status < 300:
        return Reply(Outcome.DELIVERED, seconds, status)
    if status == _GONE:
        return Reply(Outcome.GONE, seconds, status, "the endpoint is gone (410)")
    if 300 <= status < 400:
        error = f"it answered {status}; redirects are not followed"
        return Reply(Outcome.REDIRECTED, seconds, status, error, not_before)
    return Reply(Outcome.REFUSED, seconds, status, f"it answered {status}", not_before)


def _failure(error: Exception) -> tuple[Outcome, str]:
    cause = getattr(error, "os_error", None) or error.__cause__
    if isinstance(cause, _Forbidden):
        return Outcome.FORBIDDEN, str(cause)
    return Outcome.UNREACHABLE, f"{type(error).__name__}: {error}"
