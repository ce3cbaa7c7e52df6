"""The dependencies of the routes, which FastAPI passes to each: `services: Deps`."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from livekit import api
from redis.asyncio import Redis

from services.api.agent_sockets.beats import BeatWriter
from services.api.agent_sockets.open_sockets import OpenSockets
from services.api.auth.bad_keys import BadKeys
from services.api.auth.keyring import Keyring
from services.api.console.logins import Logins
from services.api.health.checks import Health
from services.api.health.forecast import Forecast
from services.api.limits.rates import RateLimits
from services.api.limits.reading import Reading
from services.api.live.hub import Hub
from services.api.settings import ApiSettings
from services.api.token.waiting_visitors import WaitingVisitors
from shared.core.sessions.outbox import Relay
from shared.core.webhooks.secrets import SecretBox
from shared.core.webhooks.targets import TargetPolicy
from shared.platform.database.database import Database


@dataclass
class Services:
    """The dependencies of the routes."""

    settings: ApiSettings
    database: Database
    redis: Redis
    reading: Reading
    relay: Relay
    hub: Hub
    health: Health
    forecast: Forecast
    webhook_receiver: api.WebhookReceiver
    webhook_targets: TargetPolicy
    webhook_secrets: SecretBox
    keyring: Keyring
    logins: Logins
    bad_keys: BadKeys
    rate_limits: RateLimits
    waiting_visitors: WaitingVisitors
    job_beats: BeatWriter
    agent_sockets: OpenSockets = field(default_factory=OpenSockets)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work after the answer has been sent."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def services_of(request: Request) -> Services:
    """Return the dependencies of the request's app."""
    services: Services = request.app.state.services
    return services


Deps = Annotated[Services, Depends(services_of)]
