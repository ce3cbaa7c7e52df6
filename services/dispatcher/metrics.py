"""What the dispatcher counts."""

from prometheus_client import Counter

from shared.contracts.causes import Cause

_ATTEMPTS = Counter("dispatch_attempts_total", "Dispatch attempts at LiveKit.", ["result"])
_WAITS = Counter("dispatch_waits_total", "Sessions that began to wait.", ["cause"])
_FAILURES = Counter("dispatch_failures_total", "Sessions given up by the dispatcher.", ["cause"])


def attempt_accepted() -> None:
    """LiveKit took the dispatch."""
    _ATTEMPTS.labels("accepted").inc()


def attempt_failed() -> None:
    """LiveKit did not take it; another attempt follows."""
    _ATTEMPTS.labels("retried").inc()


def session_given_up(cause: Cause) -> None:
    """No further attempt follows."""
    _ATTEMPTS.labels("given_up").inc()
    _FAILURES.labels(cause).inc()


def session_waits(cause: Cause) -> None:
    """The session can't be dispatched now."""
    _WAITS.labels(cause).inc()
