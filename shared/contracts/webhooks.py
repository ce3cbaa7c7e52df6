"""Webhooks out: the events that an endpoint may ask for, and the states of a delivery."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from shared.contracts.events import SESSION_EVENTS, Severity


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    PENDING = "pending"  # to be sent, for the first time or once more
    DELIVERED = "delivered"  # the endpoint answered 2xx
    DEAD = "dead"  # given up: a dead letter, until it is replayed or too old


EVERYTHING: Final = "*"
_LOUDNESS: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def matches(pattern: str, event_type: str) -> bool:
    """Return whether the pattern matches this type: exactly, or by its beginning (`agent.*`)."""
    if pattern.endswith(EVERYTHING):
        return event_type.startswith(pattern.removesuffix(EVERYTHING))
    return event_type == pattern


def is_known(pattern: str) -> bool:
    """Return whether the pattern matches any event; if it matches none, it is a mistake."""
    whole_words = pattern == EVERYTHING or not pattern.endswith(EVERYTHING) or pattern.endswith(".*")
    return whole_words and any(matches(pattern, model.type) for model in SESSION_EVENTS)


def wants(patterns: Iterable[str], least: Severity, event_type: str, severity: Severity) -> bool:
    """Return whether an endpoint with these filters wants the event."""
    loud_enough = _LOUDNESS[severity] >= _LOUDNESS[least]
    return loud_enough and any(matches(pattern, event_type) for pattern in patterns)
