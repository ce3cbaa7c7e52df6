"""The one exception for requests that can't be served, in the shape of OpenAI's errors."""

from typing import Any


class RequestRefused(Exception):
    """A request is refused with `status`; `code` is stable, `message` is for people.

    A 4xx means that the same request would be refused again; livekit-agents doesn't retry those.
    """

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the JSON body of an HTTP answer."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def frame(self) -> dict[str, Any]:
        """Return the `error` frame for a WebSocket that is already open."""
        return {"type": "error", "code": self.status, "error": self.code, "message": self.message}


def malformed(message: str, *, param: str | None = None) -> RequestRefused:
    """Return a refusal of a malformed request."""
    return RequestRefused(400, "invalid_request", message, param=param)
