"""The metrics of the API."""

from prometheus_client import Counter, Gauge

_STARTS = Counter("session_start_requests_total", "Requests to start a session.", ["outcome"])
_RESERVATIONS = Counter("session_reservation_requests_total", "Requests for a token.", ["outcome"])
_REPLAYS = Counter(
    "idempotency_keys_total", "Requests with an Idempotency-Key that was used before.", ["outcome"]
)
_WEBHOOKS = Counter("livekit_webhooks_total", "LiveKit webhooks received.", ["result"])
_PROBLEMS = Counter("api_problems_total", "Error answers, by code.", ["code"])
_NOT_COUNTED = Counter(
    "api_limits_not_counted_total", "Requests let through uncounted because Redis was down."
)
_OUTLIVED = Counter(
    "api_outlived_total", "Rows and stream entries deleted because of their age or number.", ["what"]
)
_FOLLOWERS = Gauge("event_stream_followers", "Open event streams.")
_FOLLOWERS_LOST = Counter(
    "event_stream_followers_lost_total",
    "Event streams that were refused, ended with their key, or were cut off because nobody read them.",
    ["why"],
)

_AGENT_SOCKETS = Gauge("agent_sockets", "Open WebSockets of agent workers and their jobs.")
_AGENT_CALLS = Counter(
    "agent_calls_total",
    "Calls of agent workers and their jobs over the API, by outcome.",
    ["call", "outcome"],
)

_STARTS.labels("accepted")
for _result in ("accepted", "repeated", "refused", "of_no_interest"):
    _WEBHOOKS.labels(_result)


def session_started() -> None:
    """Count a session that was started."""
    _STARTS.labels("accepted").inc()


def session_refused(code: str) -> None:
    """Count a start that was refused; `code` is the problem's."""
    _STARTS.labels(code).inc()


def token_requested(outcome: str) -> None:
    """Count a request for a token: `reserved`, or the problem's code."""
    _RESERVATIONS.labels(outcome).inc()


def key_seen_before(outcome: str) -> None:
    """Count a request with a known key: `replayed`, or the problem's code."""
    _REPLAYS.labels(outcome).inc()


def webhook_received(result: str) -> None:
    """Count a webhook: `accepted`, `repeated`, `refused` or `of_no_interest`."""
    _WEBHOOKS.labels(result).inc()


def problem_answered(code: str) -> None:
    """Count an error answer with this code."""
    _PROBLEMS.labels(code).inc()


def limits_not_counted() -> None:
    """Count a request that was let through uncounted."""
    _NOT_COUNTED.inc()


def outlived(what: str, number: int) -> None:
    """Count what was deleted from a table or a stream."""
    _OUTLIVED.labels(what).inc(number)


def followers(number: int) -> None:
    """Set the number of open event streams."""
    _FOLLOWERS.set(number)


def follower_refused() -> None:
    """Count an event stream that was refused because there were too many."""
    _FOLLOWERS_LOST.labels("refused").inc()


def follower_ended() -> None:
    """Count an event stream that ended because its key or its session did."""
    _FOLLOWERS_LOST.labels("not_allowed_any_more").inc()


def follower_cut_off() -> None:
    """Count an event stream that was cut off because nobody read it."""
    _FOLLOWERS_LOST.labels("not_read").inc()


def agent_sockets(number: int) -> None:
    """Set the number of open WebSockets of workers and jobs."""
    _AGENT_SOCKETS.set(number)


def agent_call_answered(call: str, outcome: str) -> None:
    """Count a call of a worker or job: `done`, or the code of its refusal."""
    _AGENT_CALLS.labels(call, outcome).inc()
