"""The HTTP client beneath LiveKit's API. It distinguishes LiveKit's answers from those of others.

LiveKit's API is Twirp (https://twitchtv.github.io/twirp/docs/spec_v7.html): a success is a 200 of
`application/protobuf`, an error a JSON object with `code` and `msg`. livekit-server 1.13.5 makes one
exception: it refuses a key with a 401 in plain text. Proxies between us and LiveKit answer in other ways.
"""

from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from livekit.api import ServerError, ServerErrorCode

_CODES: Final = frozenset(value for name, value in vars(ServerErrorCode).items() if not name.startswith("_"))
_LOGIN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# These errors are temporary, whoever answers them.
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
# These would turn our POST into a GET. A 307 or 308 leaves the call unchanged.
_REDIRECTS: Final = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER})


class NotLiveKit(Exception):
    """Another server answered; the text says what.

    If `done`, LiveKit may have carried out the call nevertheless.
    """

    def __init__(self, said: str, *, done: bool = False) -> None:
        super().__init__(said)
        self.done = done


def open_session(timeout_s: float) -> aiohttp.ClientSession:
    """Open a session for `livekit.api`.

    Its calls return LiveKit's answers, and raise `NotLiveKit` for others. The time limit only stops
    livekit-api from trying other regions without telling us (`MIN_FAILOVER_TIMEOUT`). It limits no call,
    because livekit-api passes None for each: callers have to set a limit.
    """
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s), middlewares=[_only_livekit])


async def _only_livekit(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    answer = await handler(request)
    if request.method != "POST":
        return answer
    try:
        await _check(answer)
    except BaseException:
        answer.close()
        raise
    return answer


async def _check(answer: ClientResponse) -> None:
    status = answer.status
    if status in _REDIRECTS:
        raise NotLiveKit(f"it redirects ({status}) to {_where(answer)}")
    if status == HTTPStatus.OK:
        if answer.content_type != "application/protobuf":
            raise NotLiveKit(f"it answers 200 with {answer.content_type}", done=True)
        return
    if status < HTTPStatus.BAD_REQUEST:
        return
    code = await _twirp_code(answer)
    if code is not None and code != ServerErrorCode.BAD_ROUTE:
        return
    passing = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if not passing and not _refuses_key(answer):
        raise NotLiveKit(f"it answers {status} with {code or answer.content_type}")
    raise ServerError(ServerErrorCode.UNKNOWN, answer.reason or "", status=status)


def _refuses_key(answer: ClientResponse) -> bool:
    """Return whether this is LiveKit's refusal, and not the login of a web page."""
    foreign = answer.content_type == "text/html" or "WWW-Authenticate" in answer.headers
    return answer.status in _LOGIN and not foreign


async def _twirp_code(answer: ClientResponse) -> str | None:
    """Return the code of a Twirp error; None if the answer is not one."""
    if answer.content_type != "application/json":
        return None
    try:
        said = await answer.json()
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("msg"), str):
        return None
    code = said.get("code")
    return code if isinstance(code, str) and code in _CODES else None


def _where(answer: ClientResponse) -> str:
    """Return the target of a redirect, without parts that may be secret."""
    location = answer.headers.get("Location", "nowhere")
    return location.partition("?")[0]
