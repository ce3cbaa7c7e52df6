"""Notice within three seconds that an agent's job is dead, by its beats.

LiveKit lists the agent of a dead job as ACTIVE for about 20 s more, but the job's beats stop at once. After
an outage of Redis, or a pause of this process, every job looks dead. So silence counts only if this process
has read the beats without a gap, by its own clock, and if they could come (`ways`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from redis.asyncio import Redis

from services.verifier.ways import Ways
from shared.contracts.keys import JOB_BEATS, job_beat_field
from shared.core.workers.beats import Beats, forget_job, forget_way, read_beats
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE

log = get_logger(__name__)

PULSE_S = 0.25
IDLE_PULSE_S = 0.5
# If two readings are further apart, they prove nothing about the time between them.
LONGEST_GAP_S = 1.0
# On a busy host, the event loop of a starting job has been blocked for 2.5 s.
STARTING_SILENCE_S = 6.0
# By then every reader that needs to know has noticed the dead job.
FORGOTTEN_AFTER_S = 60.0
_AT_ONCE = 20

Tell = Callable[[str], Awaitable[None]]
"""Receives the id of a session whose job has just fallen silent."""


@dataclass
class _Beat:
    count: int
    since: float
    worker_id: str | None = None
    told: bool = False


class Liveness:
    """What this process knows about beating jobs; a process has one."""

    def __init__(
        self, redis: Redis, *, silence_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._silence_s = silence_s
        self._clock = clock
        self._beats: dict[str, _Beat] = {}
        self._ways = Ways()
        self._read_at: float | None = None
        self._steady_since: float | None = None
        # A restarted Redis has lost this key, like the beats.
        self._sentinel = f"{JOB_BEATS}:{uuid4()}"

    def is_silent(self, session_id: str, attempt: int, *, is_ready: bool) -> bool:
        """Return whether the attempt's job beat before and no longer does. False proves nothing.

        A job that is not ready yet may be silent for longer, because loading models blocks its event loop.
        """
        beat = self._beats.get(job_beat_field(session_id, attempt))
        allowed = self._silence_s if is_ready else max(self._silence_s, STARTING_SILENCE_S)
        return beat is not None and self._silent_for(beat) > allowed

    def steady_for(self, seconds: float) -> bool:
        """Return whether Redis was read without a gap for so long.

        Then a missing beat means a missing job.
        """
        now = self._clock()
        fresh = self._read_at is not None and now - self._read_at <= LONGEST_GAP_S
        return fresh and self._steady_since is not None and now - self._steady_since >= seconds

    async def run(self, tell: Tell) -> None:
        """Read the beats forever; call `tell` once for each silence."""
        while True:
            await self.read()
            silent = self._fallen_silent()
            for start in range(0, len(silent), _AT_ONCE):
                await asyncio.gather(*(self._tell(tell, field) for field in silent[start : start + _AT_ONCE]))
            # With nobody to hear there is no hurry: a job that has just begun can't have fallen silent.
            await asyncio.sleep(PULSE_S if self._beats else IDLE_PULSE_S)

    async def read(self) -> None:
        """Read the beats once."""
        try:
            unbroken = await self._redis.set(self._sentinel, 1, ex=60, get=True)
            beats = await read_beats(self._redis)
        except UNREACHABLE as error:
            log.debug("beats_unreadable", error=repr(error))
            self._steady_since = None
            return
        now = self._clock()
        paused = self._read_at is not None and now - self._read_at > LONGEST_GAP_S
        if unbroken is None or paused or self._steady_since is None:
            self._steady_since = now
        self._read_at = now
        self._note(beats, now)
        await self._forget()

    def _note(self, heard: Beats, now: float) -> None:
        beats: dict[str, _Beat] = {}
        for field, count in heard.counts.items():
            known = self._beats.get(field)
            same = known is not None and known.count == count
            beats[field] = known if known is not None and same else _Beat(count, now)
            beats[field].worker_id = heard.workers.get(field)
        self._beats = beats
        self._ways.note(heard.ways, now)

    def _silent_for(self, beat: _Beat) -> float:
        if beat.worker_id is None:
            return self._still_for(beat)
        way = self._ways.heard(beat.worker_id)
        if way is None or self._steady_since is None:
            return 0.0
        open_since, heard_at = way
        return heard_at - max(beat.since, self._steady_since, open_since)

    def _still_for(self, beat: _Beat) -> float:
        if self._steady_since is None or self._read_at is None:
            return 0.0
        return self._read_at - max(beat.since, self._steady_since)

    def _fallen_silent(self) -> list[str]:
        silent = []
        for field, beat in self._beats.items():
            if not beat.told and self._silent_for(beat) > self._silence_s:
                beat.told = True
                silent.append(field)
        return silent

    async def _tell(self, tell: Tell, field: str) -> None:
        session_id = field.rpartition(":")[0]
        try:
            await tell(session_id)
        except Exception:
            # The watch looks at the session in its next round anyway.
            log.exception("silence_not_told", session_id=session_id)

    async def _forget(self) -> None:
        """Remove the beats of jobs, and of the ways of workers, that nobody hears from again."""
        old = [field for field, beat in self._beats.items() if self._still_for(beat) > FORGOTTEN_AFTER_S]
        try:
            for field in old:
                session_id, _, attempt = field.rpartition(":")
                await forget_job(self._redis, session_id, int(attempt))
            for worker_id in self._ways.unheard_for(FORGOTTEN_AFTER_S, self._clock()):
                await forget_way(self._redis, worker_id)
        except UNREACHABLE:
            return
