"""Events of webhook endpoints."""

from typing import ClassVar

from shared.contracts.events.base import Event


class WebhookTested(Event):
    """A test of whether a webhook endpoint gets its events. Its subject is the endpoint."""

    type: ClassVar[str] = "webhook.test.v1"
    endpoint_id: str
