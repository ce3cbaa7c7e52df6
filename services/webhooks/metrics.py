"""What the webhooks process counts. The gauges are of the whole deployment: each replica shows the same."""

from prometheus_client import Counter, Gauge, Histogram

from services.webhooks.send import Outcome

_ATTEMPTS = Counter("webhook_attempts_total", "Webhooks sent, by what came of it.", ["outcome"])
_SECONDS = Histogram(
    "webhook_attempt_seconds",
    "From the connection to an endpoint until its answer, or until it was given up.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
)
_LAG = Histogram(
    "webhook_lag_seconds",
    "From an event until an endpoint has taken it.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200, 86_400),
)
_COLLECTED = Counter(
    "webhook_deliveries_total", "Deliveries begun: events, for each endpoint that wants them."
)
_DEAD = Counter("webhook_dead_letters_total", "Deliveries given up.")
_DISABLED = Counter("webhook_endpoints_disabled_total", "Endpoints disabled by us.", ["reason"])
_BACKLOG = Gauge("webhook_backlog", "Deliveries that are still on their way.")
_OLDEST = Gauge("webhook_backlog_oldest_seconds", "Age of the oldest delivery that is still on its way.")
_DEAD_NOW = Gauge("webhook_dead_letters_kept", "Deliveries given up, and neither replayed nor too old.")
_ENDPOINTS = Gauge("webhook_endpoints", "Endpoints.", ["state"])

for _outcome in Outcome:
    _ATTEMPTS.labels(_outcome)


def attempted(outcome: str, seconds: float) -> None:
    """A request was made: `delivered`, or why not."""
    _ATTEMPTS.labels(outcome).inc()
    _SECONDS.observe(seconds)


def delivered(lag_s: float) -> None:
    """An endpoint has taken an event so long after it happened."""
    _LAG.observe(lag_s)


def collected(deliveries: int) -> None:
    """Deliveries were written."""
    _COLLECTED.inc(deliveries)


def given_up(deliveries: int = 1) -> None:
    """No further attempt will be made by itself."""
    _DEAD.inc(deliveries)


def endpoint_disabled(reason: str) -> None:
    """An endpoint gets nothing any more: `gone` or `failing`."""
    _DISABLED.labels(reason).inc()


def surveyed(*, backlog: int, oldest_s: float, dead: int, enabled: int, disabled: int) -> None:
    """What the database holds now."""
    _BACKLOG.set(backlog)
    _OLDEST.set(oldest_s)
    _DEAD_NOW.set(dead)
    _ENDPOINTS.labels("enabled").set(enabled)
    _ENDPOINTS.labels("disabled").set(disabled)
