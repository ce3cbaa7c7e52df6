"""What the API counts."""

from prometheus_client import Counter, Gauge

_STARTS = Counter("session_start_requests_total", "Requests to start a session.", ["outcome"])
_RESERVATIONS = Counter("session_reservation_requests_total", "Requests for a token.", ["outcome"])
_REPLAYS = Counter("idempotency_keys_total", "Requests with a key seen before.", ["outcome"])
_WEBHOOKS = Counter("livekit_webhooks_total", "LiveKit webhooks received.", ["result"])
_PROBLEMS = Counter("api_problems_total", "Answers that were an error, by their code.", ["code"])
_NOT_COUNTED = Counter("api_limits_not_counted_total", "Requests let through because Redis was away.")
_OUTLIVED = Counter(
    "api_outlived_total", "What was deleted since its time was over, or there was too much of it.", ["what"]
)
_FOLLOWERS = Gauge("event_stream_followers", "Event streams that are open.")
_FOLLOWERS_LOST = Counter(
    "event_stream_followers_lost_total",
    "Event streams refused, ended with their key, or cut off since they were not read.",
    ["why"],
)

_STARTS.labels("accepted")
for _result in ("accepted", "repeated", "refused", "of_no_interest"):
    _WEBHOOKS.labels(_result)


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
    """A webhook came in: `accepted`, `repeated`, `refused` or `of_no_interest`."""
    _WEBHOOKS.labels(result).inc()


def problem_answered(code: str) -> None:
    """An answer was a problem of this code."""
    _PROBLEMS.labels(code).inc()


def limits_not_counted() -> None:
    """A request was let through uncounted."""
    _NOT_COUNTED.inc()


def outlived(what: str, number: int) -> None:
    """So many were deleted: of a table, or of a stream."""
    _OUTLIVED.labels(what).inc(number)


def followers(number: int) -> None:
    """So many event streams are open."""
    _FOLLOWERS.set(number)


def follower_refused() -> None:
    """There were too many event streams already."""
    _FOLLOWERS_LOST.labels("refused").inc()


def follower_ended() -> None:
    """An event stream ended since its key, or its session, is over."""
    _FOLLOWERS_LOST.labels("not_allowed_any_more").inc()


def follower_cut_off() -> None:
    """An event stream was not read."""
    _FOLLOWERS_LOST.labels("not_read").inc()
