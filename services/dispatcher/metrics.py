"""The metrics of the dispatcher."""

from prometheus_client import Counter

from shared.contracts.causes import Cause

_ATTEMPTS = Counter("dispatch_attempts_total", "Dispatch attempts at LiveKit.", ["result"])
_WAITS = Counter("dispatch_waits_total", "Sessions that began to wait.", ["cause"])
for _result in ("accepted", "retried", "given_up"):
    _ATTEMPTS.labels(_result)
for _cause in Cause:
    _WAITS.labels(_cause)


def attempt_accepted() -> None:
    """Count a dispatch that LiveKit took."""
    _ATTEMPTS.labels("accepted").inc()


def attempt_failed() -> None:
    """Count a dispatch that LiveKit did not take; another attempt follows."""
    _ATTEMPTS.labels("retried").inc()


def session_given_up() -> None:
    """Count a session that is given up."""
    _ATTEMPTS.labels("given_up").inc()


def session_waits(cause: Cause) -> None:
    """Count a session that has to wait."""
    _WAITS.labels(cause).inc()
