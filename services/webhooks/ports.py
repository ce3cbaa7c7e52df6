"""What sending needs from other parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.webhooks.send import Reply
from shared.contracts.events import Envelope


@dataclass(frozen=True)
class DueDelivery:
    """One delivery that this process has claimed. `envelope` is None if its event no longer exists.

    `attempts` and `claimed_until` together identify the claim: no other claim has the same values.
    """

    endpoint_id: str
    event_id: str
    attempts: int
    claimed_until: datetime
    url: str
    sealed_secrets: tuple[str, ...] = field(repr=False)
    endpoint_failing: bool
    envelope: Envelope | None
    project: str = ""


@dataclass(frozen=True)
class Done:
    """A delivery, and the outcome of its attempt."""

    job: DueDelivery
    reply: Reply
    at: datetime


class DeliveryStore(Protocol):
    """The store of deliveries. Raises `sqlalchemy` errors and `OSError` if the database does not answer."""

    async def settle_and_claim(self, done: Sequence[Done], busy: Mapping[str, int]) -> list[DueDelivery]:
        """Record outcomes, and claim more deliveries. `busy` is how many each endpoint is being sent now."""


class Transport(Protocol):
    """The way a webhook is sent."""

    async def post(self, url: str, body: str, headers: Mapping[str, str], *, project: str = "") -> Reply:
        """Send one delivery. The reply tells whatever the endpoint does."""
