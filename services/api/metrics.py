"""What the API counts."""

from prometheus_client import Counter

_STARTS = Counter("session_start_requests_total", "Requests to start a session.", ["outcome"])
_WEBHOOKS = Counter("livekit_webhooks_total", "LiveKit webhooks received.", ["result"])

_STARTS.labels("accepted")
for _result in ("accepted", "repeated", "refused", "of_no_interest"):
    _WEBHOOKS.labels(_result)


def session_started() -> None:
    """A session was written."""
    _STARTS.labels("accepted").inc()


def session_refused(code: str) -> None:
    """A request was turned down; `code` is the problem's."""
    _STARTS.labels(code).inc()


def webhook_received(result: str) -> None:
    """A webhook came in: `accepted`, `repeated`, `refused` or `of_no_interest`."""
    _WEBHOOKS.labels(result).inc()
