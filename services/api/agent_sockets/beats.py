"""Write the beats of all jobs in few round trips: a call of the Redis client costs more CPU than a beat."""

import asyncio
from dataclasses import dataclass, field

from redis.asyncio import Redis

from shared.core.workers.beats import JobBeat, write_job_beats
from shared.platform.redis.streams import UNREACHABLE


@dataclass(eq=False)
class _Waiting:
    beat: JobBeat
    written: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class BeatWriter:
    """Writes what has come while the beats before were written; a process has one.

    A beat waits for nobody while there are few, and many share a round trip.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, beat: JobBeat) -> None:
        """Write one beat. Raises one of `UNREACHABLE`."""
        waiting = _Waiting(beat)
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="job-beats")
        await waiting.written

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await write_job_beats(self._redis, [one.beat for one in batch])
            except BaseException as error:
                for one in batch:
                    if not one.written.done():
                        one.written.set_exception(error)
                if not isinstance(error, UNREACHABLE):
                    raise
                continue
            for one in batch:
                if not one.written.done():  # its socket may be gone
                    one.written.set_result(None)
