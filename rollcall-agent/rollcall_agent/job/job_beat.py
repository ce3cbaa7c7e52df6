"""Tell twice a second that this job's event loop is running, which also keeps the attempt for the job.

This is a task of that loop, not a thread, because the beats of a job that hangs must stop.
"""

import asyncio
from itertools import count

from rollcall_agent.ports import FAILED, CallRefused
from shared.core.workers.backend import AttemptBackend
from shared.core.workers.beats import JOB_BEAT_INTERVAL_S
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger

WARN_INTERVAL_S = 60.0

log = get_logger(__name__)


class JobBeat:
    """Beats from `start` to `aclose`, unless the attempt is over before."""

    def __init__(self, attempt: AttemptBackend, *, job_id: str) -> None:
        self._attempt = attempt
        self._job_id = job_id
        self._beating: asyncio.Task[None] | None = None
        self._quiet_until = float("-inf")

    def start(self) -> None:
        """Start beating in the running loop."""
        self._beating = asyncio.create_task(self._beat_for_ever(), name="job-beat")

    async def aclose(self) -> None:
        """Stop, and remove the job from the list of beating jobs."""
        if self._beating is None:
            return
        await stop_all([self._beating])
        try:
            await self._attempt.forget()
        except FAILED as error:
            log.warning("job_not_forgotten", error=repr(error))

    async def _beat_for_ever(self) -> None:
        for number in count(1):
            try:
                await self._attempt.beat(self._job_id, number)
            except CallRefused as refused:
                self._warn(refused)
                if refused.is_over:
                    return
            except Exception as error:  # any error: a job whose beats stop counts as dead
                self._warn(error)
            await asyncio.sleep(JOB_BEAT_INTERVAL_S)

    def _warn(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + WARN_INTERVAL_S
            log.warning("job_beat_failed", error=repr(error))
