"""Choose the worker of a dispatch, and have its slot promised."""

import random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.dispatcher.claims import Wanted
from services.dispatcher.repository import Repository
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.causes import Cause
from shared.contracts.keys import line_name
from shared.core.admission.slots import take
from shared.core.admission.wait_queue import FULL
from shared.core.workers.placement import BY_NAME, Candidate, Choice, candidates
from shared.core.workers.placing import may_place
from shared.core.workers.registry import Fleet, read_fleet
from shared.core.workers.track_record import try_again

Obstacle = tuple[Cause, dict[str, Any]]


class Chooser:
    """Chooses among the workers that the registry knows; LiveKit chooses where it knows of none."""

    def __init__(self, *, redis: Redis, repository: Repository, settings: DispatcherSettings) -> None:
        self._redis = redis
        self._repository = repository
        self._settings = settings

    async def choose(self, wanted: Wanted) -> Choice | Obstacle:
        """Return who gets the session, with a slot promised, or why no worker would take it now.

        A registry that can't be read, or knows no worker of the name, proves nothing: the worker may be
        one that doesn't report to us.
        """
        try:
            found = await self._choose(wanted, await read_fleet(self._redis))
        except (RedisError, OSError):
            return BY_NAME
        if isinstance(found, Choice) or not await self._may_be_served_by_unreporting(wanted, found):
            return found
        return BY_NAME

    async def _choose(self, wanted: Wanted, fleet: Fleet) -> Choice | Obstacle:
        row = wanted.row
        name, pool = row.agent_name, row.pool
        served = fleet.sessions(name)
        # The slot that an earlier attempt's job still holds is ours.
        ours = row.id in served
        obstacle = None if ours else fleet.why_none(name, pool)
        if obstacle is not None:
            cause, _ = obstacle
            return obstacle if cause in FULL or not self._settings.wait_for_workers else BY_NAME
        free = fleet.free_slots(name, pool) + ours
        possible = await self._candidates(wanted, fleet)
        queue = line_name(name, pool)
        slot = await take(self._redis, queue, row.id, free=free, served=served, candidates=possible)
        if slot is None:
            return Cause.WORKERS_AT_CAPACITY, {"free_slots": free, "promised": "all to others"}
        chosen = next((one for one in possible if one.worker_id == slot.worker_id), None)
        if chosen is None:
            return BY_NAME
        if chosen.on_trial:
            await try_again(self._redis, chosen.worker_id)
        return Choice(chosen.worker_id, chosen.address)

    async def _candidates(self, wanted: Wanted, fleet: Fleet) -> list[Candidate]:
        """Return the workers to choose from; none where LiveKit is to draw.

        The last attempt after others in vain goes by name, unless this server has delivered to addresses.
        """
        row = wanted.row
        if self._settings.livekit_placement == "off":
            return []
        possible = candidates(fleet, row.agent_name, deployment=row.pool, tries=wanted.tries)
        possible = [one for one in possible if one.worker_id not in wanted.tries]
        last_chance = bool(wanted.tries) and row.attempt + 1 >= row.max_attempts
        if not possible or not await may_place(self._redis, last_chance=last_chance):
            return []
        random.shuffle(possible)  # of workers that are alike, not always the same
        return possible

    async def _may_be_served_by_unreporting(self, wanted: Wanted, obstacle: Obstacle) -> bool:
        """True if workers that don't report to us are worth one try while all that do are full."""
        cause, _ = obstacle
        if cause not in FULL or wanted.tried_by_name:
            return False
        return await self._repository.is_served_by_unreporting(wanted.row.agent_name)
