"""What a failed LiveKit call means: whether to retry, whether it may have taken effect, and its cause."""

from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from google.protobuf.message import DecodeError
from livekit import api

from shared.contracts.causes import Cause
from shared.platform.livekit.http import NotLiveKit

# LiveKit accepts tokens whose time is at most a minute off; half of that is worth reporting.
SKEW_WORTH_TELLING_S = 30

# The exceptions of a call that LiveKit did not answer.
NO_ANSWER: Final = (TimeoutError, aiohttp.ClientError, OSError, NotLiveKit, DecodeError)


class LiveKitError(Exception):
    """A LiveKit call that did not succeed.

    If `retryable`, another try may succeed. If `uncertain`, the call may have taken effect, so look first.
    """

    def __init__(
        self,
        message: str,
        *,
        cause: Cause,
        retryable: bool,
        uncertain: bool,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.retryable = retryable
        self.uncertain = uncertain
        self.evidence: dict[str, Any] = {"error": message, **(evidence or {})}


class NotFound(LiveKitError):
    """The object of the call does not exist, or no longer."""


def not_asked(method: str, last: LiveKitError | None = None) -> LiveKitError:
    """Return the error of a call that was not made, because the server was down when `last` was raised."""
    why = "it did not answer a moment ago" + (f" ({last})" if last else "")
    return LiveKitError(
        f"{method}: LiveKit can't be reached: {why}",
        cause=Cause.LIVEKIT_UNREACHABLE,
        retryable=True,
        uncertain=False,
    )


def unreachable(method: str, error: Exception, *, url: str = "LIVEKIT_URL") -> LiveKitError:
    """Return the error of a call without an answer: `error` is one of `NO_ANSWER`, `url` the address.

    An answer that isn't LiveKit's is retryable: a proxy sends such answers while LiveKit is being replaced.
    """
    if isinstance(error, NotLiveKit | DecodeError | aiohttp.TooManyRedirects):
        message = f"{method}: {url} is not LiveKit's API: {_foreign(error)}{_path_advice(url)}"
    else:
        message = f"{method}: LiveKit can't be reached: {_no_answer(error, url)}"
    return LiveKitError(
        message, cause=Cause.LIVEKIT_UNREACHABLE, retryable=True, uncertain=_may_be_done(error)
    )


def shown_url(url: str) -> str:
    """Return LIVEKIT_URL for logs: without password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _may_be_done(error: Exception) -> bool:
    if isinstance(error, NotLiveKit):
        return error.done
    return not isinstance(error, aiohttp.ClientConnectorError)


def _foreign(error: Exception) -> str:
    if isinstance(error, NotLiveKit):
        return str(error)
    if isinstance(error, aiohttp.TooManyRedirects):
        return "it redirects in a circle"
    return "it answers 200 with something else"


def _path_advice(url: str) -> str:
    path = urlsplit(url).path.rstrip("/")
    return f"; LIVEKIT_URL has the path {path}, which is probably wrong" if path else "; check LIVEKIT_URL"


def _no_answer(error: Exception, url: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{url} did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {url} is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"{url} does not speak TLS: should the URL begin with ws:// or http://? ({error.strerror})"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{url} does not speak HTTP: does LiveKit listen on another port?"
    return repr(error)


def classed(method: str, error: api.ServerError, *, clock_skew_s: int | None = None) -> LiveKitError:
    """Return the error of a call that the server refused.

    `clock_skew_s` is how far this host's clock is ahead.
    """
    if error.status in (401, 403):
        return _refused(method, error.status, clock_skew_s)
    detail = f"{method}: {error.code} ({error.status}): {error.message}"
    if error.status == 404:
        return NotFound(detail, cause=Cause.ROOM_CLOSED, retryable=False, uncertain=False)
    if error.status in (408, 429) or error.status >= 500:
        return LiveKitError(
            detail, cause=Cause.LIVEKIT_UNREACHABLE, retryable=True, uncertain=error.status != 429
        )
    return LiveKitError(detail, cause=Cause.UNKNOWN, retryable=False, uncertain=False)


def _refused(method: str, status: int, clock_skew_s: int | None) -> LiveKitError:
    # The body of a 401 repeats the token, which must not get into a log.
    message = f"{method}: LiveKit refused the key, the secret or the token's time ({status})"
    if clock_skew_s is not None and abs(clock_skew_s) > SKEW_WORTH_TELLING_S:
        side = "ahead of" if clock_skew_s > 0 else "behind"
        message += f"; this host's clock is {abs(clock_skew_s)} s {side} LiveKit's"
    return LiveKitError(
        message,
        cause=Cause.LIVEKIT_AUTH,
        retryable=False,
        uncertain=False,
        evidence=None if clock_skew_s is None else {"clock_skew_s": clock_skew_s},
    )
