"""Webhooks out: what an endpoint may ask for, and what becomes of a delivery."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from shared.contracts.events import SESSION_EVENTS, Severity


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # to be sent, for the first time or again
    DELIVERED = "delivered"  # the endpoint answered 2xx
    DEAD = "dead"  # given up: a dead letter, until it is replayed or too old


EVERYTHING: Final = "*"
_LOUDNESS: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def matches(pattern: str, event_type: str) -> bool:
    """Whether the pattern means this type: exactly, or as one that begins so (`agent.*`)."""
    if pattern.endswith(EVERYTHING):
        return event_type.startswith(pattern.removesuffix(EVERYTHING))
    return event_type == pattern


def is_known(pattern: str) -> bool:
    """Whether there is an event that the pattern means; one that means none is a slip of the pen."""
    whole_words = pattern == EVERYTHING or not pattern.endswith(EVERYTHING) or pattern.endswith(".*")
    return whole_words and any(matches(pattern, model.type) for model in SESSION_EVENTS)


def wants(patterns: Iterable[str], least: Severity, event_type: str, severity: Severity) -> bool:
    """Whether an endpoint with these filters wants the event."""
    loud_enough = _LOUDNESS[severity] >= _LOUDNESS[least]
    return loud_enough and any(matches(pattern, event_type) for pattern in patterns)
