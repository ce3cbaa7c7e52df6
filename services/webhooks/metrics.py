"""The metrics of the webhooks process. The gauges cover the whole deployment: each replica shows the same."""

from prometheus_client import Counter, Gauge, Histogram

from services.webhooks.send import Outcome

_ATTEMPTS = Counter("webhook_attempts_total", "Webhooks sent, by outcome.", ["outcome"])
_SECONDS = Histogram(
    "webhook_attempt_seconds",
    "Time from connecting to an endpoint until its answer, or until the attempt was given up.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
)
_LAG = Histogram(
    "webhook_lag_seconds",
    "Time from an event until an endpoint accepted it.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200, 86_400),
)
_COLLECTED = Counter(
    "webhook_deliveries_total", "Deliveries created: one for each event and each endpoint that wants it."
)
_DEAD = Counter("webhook_dead_letters_total", "Deliveries given up.")
_DISABLED = Counter("webhook_endpoints_disabled_total", "Endpoints that Rollcall disabled.", ["reason"])
_BACKLOG = Gauge("webhook_backlog", "Deliveries that are still pending.")
_OLDEST = Gauge("webhook_backlog_oldest_seconds", "Age of the oldest delivery that is still pending.")
_DEAD_NOW = Gauge(
    "webhook_dead_letters_kept", "Deliveries that were given up, and neither replayed nor deleted for age."
)
_ENDPOINTS = Gauge("webhook_endpoints", "Endpoints.", ["state"])

for _outcome in Outcome:
    _ATTEMPTS.labels(_outcome)


def attempted(outcome: str, seconds: float) -> None:
    """Count a request by its outcome: `delivered`, or why not."""
    _ATTEMPTS.labels(outcome).inc()
    _SECONDS.observe(seconds)


def delivered(lag_s: float) -> None:
    """Observe how long after an event an endpoint accepted it."""
    _LAG.observe(lag_s)


def collected(deliveries: int) -> None:
    """Count deliveries that were created."""
    _COLLECTED.inc(deliveries)


def given_up(deliveries: int = 1) -> None:
    """Count a delivery that is given up."""
    _DEAD.inc(deliveries)


def endpoint_disabled(reason: str) -> None:
    """Count an endpoint that was disabled, because it was `gone` or `failing`."""
    _DISABLED.labels(reason).inc()


def surveyed(*, backlog: int, oldest_s: float, dead: int, enabled: int, disabled: int) -> None:
    """Set the gauges to what the database holds now."""
    _BACKLOG.set(backlog)
    _OLDEST.set(oldest_s)
    _DEAD_NOW.set(dead)
    _ENDPOINTS.labels("enabled").set(enabled)
    _ENDPOINTS.labels("disabled").set(disabled)
