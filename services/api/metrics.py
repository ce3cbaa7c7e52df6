"""What the API counts."""

from prometheus_client import Counter

_STARTS = Counter("session_start_requests_total", "Requests to start a session.", ["outcome"])
_RESERVATIONS = Counter("session_reservation_requests_total", "Requests for a token.", ["outcome"])
_REPLAYS = Counter("idempotency_keys_total", "Requests with a key seen before.", ["outcome"])
_WEBHOOKS = Counter("livekit_webhooks_total", "LiveKit webhooks received.", ["result"])


def session_started() -> None:
    """A session was written."""
    _STARTS.labels("accepted").inc()


def session_refused(code: str) -> None:
    """A request was turned down; `code` is the problem's."""
    _STARTS.labels(code).inc()


def token_requested(outcome: str) -> None:
    """A token was asked for: `reserved`, or the code of the problem."""
    _RESERVATIONS.labels(outcome).inc()


def key_seen_before(outcome: str) -> None:
    """A request came with a known key: `replayed`, or the code of the problem."""
    _REPLAYS.labels(outcome).inc()


def webhook_received(result: str) -> None:
    """A webhook came in: `accepted`, `repeated` or `refused`."""
    _WEBHOOKS.labels(result).inc()
