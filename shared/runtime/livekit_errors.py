"""What a failed LiveKit call means: is it worth another try, may it have been done, whose fault is it."""

from typing import Any

import aiohttp
from livekit import api

from shared.contracts.causes import Cause

# LiveKit takes tokens whose time is not more than a minute off; half of that is worth a word.
SKEW_WORTH_TELLING_S = 30


class LiveKitError(Exception):
    """A LiveKit call that did not succeed.

    retryable: another try may succeed. uncertain: it may have taken effect all the same, so look first.
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
    """What the call was about is not there (any more)."""


def not_asked(method: str) -> LiveKitError:
    """The call was not made, since the server was away a moment ago."""
    return LiveKitError(
        f"{method}: LiveKit can't be reached: it did not answer a moment ago",
        cause=Cause.LIVEKIT_UNREACHABLE,
        retryable=True,
        uncertain=False,
    )


def unreachable(method: str, error: Exception) -> LiveKitError:
    """The call got no answer."""
    return LiveKitError(
        f"{method}: LiveKit can't be reached: {error!r}",
        cause=Cause.LIVEKIT_UNREACHABLE,
        retryable=True,
        uncertain=not isinstance(error, aiohttp.ClientConnectorError),
    )


def classed(method: str, error: api.ServerError, *, clock_skew_s: int | None = None) -> LiveKitError:
    """The server said no; `clock_skew_s` is how far this host's clock is ahead of the server's."""
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
    # The body of a 401 repeats the token: it must not get into a log.
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
