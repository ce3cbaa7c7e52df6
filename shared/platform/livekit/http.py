"""The HTTP beneath LiveKit's API: an answer that isn't LiveKit's is told apart from one that is.

LiveKit's API is Twirp (https://twitchtv.github.io/twirp/docs/spec_v7.html): a success is a 200 of
`application/protobuf`, an error a JSON object with `code` and `msg`. livekit-server 1.13.5 makes one
exception: it refuses a key with a 401 in plain text. What is between us and LiveKit answers otherwise.
"""

from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from livekit.api import ServerError, ServerErrorCode

_CODES: Final = frozenset(value for name, value in vars(ServerErrorCode).items() if not name.startswith("_"))
_LOGIN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# They pass, whoever says so.
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
# They would make a GET of our POST. Of 307 and 308 the call comes out unchanged.
_REDIRECTS: Final = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER})


class NotLiveKit(Exception):
    """Somebody else answers; the text says what he answered. done: LiveKit may have done it nevertheless."""

    def __init__(self, said: str, *, done: bool = False) -> None:
        super().__init__(said)
        self.done = done


def open_session(timeout_s: float) -> aiohttp.ClientSession:
    """A session for `livekit.api`, whose calls raise `NotLiveKit`, or else answer as LiveKit does.

    The time limit tells livekit-api not to try other regions behind our back (`MIN_FAILOVER_TIMEOUT`), and
    holds for nothing else: livekit-api passes None for each call. So who calls has to keep a limit.
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
    """Whether it is LiveKit's refusal, and not the login of a web page."""
    foreign = answer.content_type == "text/html" or "WWW-Authenticate" in answer.headers
    return answer.status in _LOGIN and not foreign


async def _twirp_code(answer: ClientResponse) -> str | None:
    """The code of a Twirp error; None if it is something else."""
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
    """Where a redirect leads, without what may be secret."""
    location = answer.headers.get("Location", "nowhere")
    return location.partition("?")[0]
