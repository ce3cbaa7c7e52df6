"""Find the cause behind an exception of an agent's job."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from aiohttp import ClientResponseError
from livekit import rtc
from livekit.agents import APIError, APIStatusError
from livekit.agents.voice.events import ErrorEvent

from shared.contracts.causes import Cause
from shared.contracts.events import AgentError
from shared.contracts.text import clean, cut

MAX_MESSAGE = 500
MAX_CAUSES = 5
_UNKNOWN_MODEL: Final = frozenset({400, 404, 422})
_QUOTA: Final = frozenset({402, 429})


class ModelRefused(ValueError):
    """A model can't be built from its descriptor."""

    def __init__(self, descriptor: str, reason: str) -> None:
        super().__init__(f"{descriptor}: {reason}")
        self.descriptor = descriptor


def diagnose(error: BaseException, *, descriptor: str | None = None, recoverable: bool = False) -> AgentError:
    """Describe an exception; `descriptor` is the model in use, if any."""
    cause = _cause_of(error)
    if isinstance(error, ModelRefused):
        descriptor = error.descriptor
    return AgentError(
        type=type(error).__name__,
        message=cut(_said_by(error), MAX_MESSAGE),
        cause=cause,
        descriptor=descriptor,
        recoverable=recoverable,
    )


def diagnose_event(event: ErrorEvent) -> AgentError:
    """Describe an `error` event of an agent session."""
    wrapped: Any = event.error
    error = getattr(wrapped, "error", wrapped)
    if not isinstance(error, BaseException):
        error = RuntimeError(str(error))
    model = getattr(event.source, "model", None)
    return diagnose(
        error,
        descriptor=model if isinstance(model, str) and "/" in model else None,
        recoverable=bool(getattr(wrapped, "recoverable", False)),
    )


def _said_by(error: BaseException) -> str:
    try:
        said = clean(str(error) or repr(error))
    except Exception:  # an error of a tool or plugin whose own text raises
        return type(error).__name__
    refused = next((link for link in _links(error) if isinstance(link, ClientResponseError)), None)
    if refused is not None and _lacks_realtime(refused):
        return f"{said}; this gateway has no realtime models, or not this one"
    return said


def _lacks_realtime(refused: ClientResponseError) -> bool:
    return refused.status == HTTPStatus.NOT_FOUND and refused.request_info.real_url.name == "realtime"


def _cause_of(error: BaseException) -> Cause:
    if isinstance(error, ModelRefused):
        return Cause.MODEL_MISCONFIGURED
    if isinstance(error, rtc.ConnectError):
        return Cause.NEVER_CONNECTED
    if not isinstance(error, APIError):
        return Cause.ENTRYPOINT_FAILED
    status = _status_of(error)
    if status in _UNKNOWN_MODEL:
        return Cause.MODEL_MISCONFIGURED
    if status in _QUOTA:
        return Cause.INFERENCE_QUOTA
    return Cause.INFERENCE_UNAVAILABLE


def _status_of(error: APIError) -> int | None:
    """Return the HTTP status of an error: its own, an `error` frame's, or that of its cause."""
    code = error.body.get("code") if isinstance(error.body, dict) else None
    if isinstance(code, int):
        return code
    for link in _links(error):
        if isinstance(link, APIStatusError):
            return link.status_code
        if isinstance(link, ClientResponseError):
            return link.status
    return None


def _links(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those behind it."""
    link: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if link is not None:
            yield link
            link = link.__cause__
