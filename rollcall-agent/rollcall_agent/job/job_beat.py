"""Write twice a second that this job's event loop is running, which also keeps the attempt for the job.

This is a task of that loop, not a thread, because the beats of a job that hangs must stop.
"""

import asyncio
from itertools import count

from redis.asyncio import Redis

from shared.contracts.dispatching import DispatchOrder
from shared.core.workers.beats import JOB_BEAT_INTERVAL_S, forget_job, write_job_beat
from shared.core.workers.fence import take_attempt
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

WARN_INTERVAL_S = 60.0

log = get_logger(__name__)


class JobBeat:
    """Beats from `start` to `aclose`. A job without an order is not watched, and doesn't beat."""

    def __init__(self, *, redis: Redis, order: DispatchOrder | None, job_id: str = "") -> None:
        self._redis = redis
        self._order = order
        self._job_id = job_id
        self._beating: asyncio.Task[None] | None = None
        self._quiet_until = float("-inf")

    def start(self) -> None:
        """Start beating in the running loop."""
        if self._order is not None:
            self._beating = asyncio.create_task(self._beat_for_ever(self._order), name="job-beat")

    async def aclose(self) -> None:
        """Stop, and remove the job from the list of beating jobs."""
        if self._order is None or self._beating is None:
            return
        await stop_all([self._beating])
        try:
            await forget_job(self._redis, self._order.session_id, self._order.attempt)
        except UNREACHABLE as error:
            log.warning("job_not_forgotten", error=repr(error))

    async def _beat_for_ever(self, order: DispatchOrder) -> None:
        for number in count(1):
            try:
                await write_job_beat(self._redis, order.session_id, order.attempt, number)
                await take_attempt(self._redis, order.session_id, order.attempt, self._job_id)
            except Exception as error:  # any error: a job whose beats stop counts as dead
                self._warn(error)
            await asyncio.sleep(JOB_BEAT_INTERVAL_S)

    def _warn(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + WARN_INTERVAL_S
            log.warning("job_beat_failed", error=repr(error))
