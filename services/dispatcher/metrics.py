"""The metrics of the dispatcher."""

from prometheus_client import Counter

from shared.contracts.causes import Cause

_ATTEMPTS = Counter("dispatch_attempts_total", "Dispatch attempts at LiveKit.", ["result"])
_CHOICES = Counter(
    "dispatch_choices_total",
    "Dispatches that LiveKit took, by who chose the worker: rollcall (its address) or livekit (its name).",
    ["by"],
)
_WAITS = Counter("dispatch_waits_total", "Sessions that began to wait.", ["cause"])
for _result in ("accepted", "retried", "given_up"):
    _ATTEMPTS.labels(_result)
for _chooser in ("rollcall", "livekit"):
    _CHOICES.labels(_chooser)
for _cause in Cause:
    _WAITS.labels(_cause)


def attempt_accepted(*, placed: bool) -> None:
    """Count a dispatch that LiveKit took. `placed`: it names a worker."""
    _CHOICES.labels("rollcall" if placed else "livekit").inc()
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
