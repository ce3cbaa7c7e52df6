"""Canaries: sessions that nobody joins, started regularly to test whether an agent would come."""

import asyncio
from datetime import timedelta

from services.api.auth.access import Principal
from services.api.errors.problems import Problem
from services.api.sessions.schemas import StartSession
from services.api.sessions.start import start_session
from services.api.settings import ApiSettings
from shared.core.sessions.outbox import Relay
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.lease import Lease
from shared.platform.logs.logs import get_logger
from shared.platform.tracing.span_names import CANARY
from shared.platform.tracing.tracing import span

log = get_logger(__name__)

LEASE = "canary"
# The most often that a replica checks whether a canary is due.
_LOOK_S = 5.0


class Canaries:
    """Starts one canary in each interval, in any one of the API's replicas."""

    def __init__(
        self, *, settings: ApiSettings, database: Database, relay: Relay, holder: str, now: Clock
    ) -> None:
        interval = timedelta(seconds=settings.canary_interval_s)
        self._settings = settings
        self._database = database
        self._relay = relay
        self._lease = Lease(database, name=LEASE, holder=holder, term=interval, now=now)
        self._now = now

    async def run(self) -> None:
        """Start canaries forever."""
        pause_s = min(self._settings.canary_interval_s / 4, _LOOK_S)
        while True:
            # First a pause: when an API starts, the workers often start at the same time.
            await asyncio.sleep(pause_s)
            try:
                await self.start_if_due()
            except (Problem, *DATABASE_ERRORS) as error:
                log.warning("canary_not_started", error=repr(error))

    async def start_if_due(self) -> str | None:
        """Start a canary if none was started for an interval; return its session's id."""
        if not await self._lease.take_once():
            return None
        with span(CANARY, begins=True):
            row = await start_session(
                StartSession(canary=True),
                asking=Principal(),
                settings=self._settings,
                database=self._database,
                relay=self._relay,
                now=self._now,
            )
        return row.id
