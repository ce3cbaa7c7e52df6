"""What sending needs of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.webhooks.send import Reply
from shared.contracts.events import Envelope


@dataclass(frozen=True)
class DueDelivery:
    """One delivery that this process has claimed. `envelope` None: its event is not there any more.

    `attempts` and `claimed_until` together are the claim: nobody else has the same.
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
    """A job, and what came of it."""

    job: DueDelivery
    reply: Reply
    at: datetime


class DeliveryStore(Protocol):
    """Where deliveries are kept. Raises `sqlalchemy` errors and `OSError` if the database is away."""

    async def settle_and_claim(self, done: Sequence[Done], busy: Mapping[str, int]) -> list[DueDelivery]:
        """Record what came of jobs, and claim others; `busy` is what each endpoint has in hand already."""


class Transport(Protocol):
    """How a webhook is sent."""

    async def post(self, url: str, body: str, headers: Mapping[str, str], *, project: str = "") -> Reply:
        """Send one; whatever the endpoint does is in the reply."""
