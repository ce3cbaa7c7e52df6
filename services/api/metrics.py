"""What the API counts."""

from prometheus_client import Counter

_STARTS = Counter("session_start_requests_total", "Requests to start a session.", ["outcome"])
_WEBHOOKS = Counter("livekit_webhooks_total", "LiveKit webhooks received.", ["result"])


def session_started() -> None:
    """A session was written."""
    _STARTS.labels("accepted").inc()


def session_refused(code: str) -> None:
    """A request was turned down; `code` is the problem's."""
    _STARTS.labels(code).inc()


def webhook_received(result: str) -> None:
    """A webhook came in: `accepted`, `repeated` or `refused`."""
    _WEBHOOKS.labels(result).inc()
