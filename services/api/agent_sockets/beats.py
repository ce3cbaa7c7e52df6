"""Write the beats of all jobs in few round trips: a call of the Redis client costs more CPU than a beat."""

import asyncio

from redis.asyncio import Redis

from shared.core.workers.beats import Beat, write_job_beats


class BeatWriter:
    """Writes together what has come while the beats before were written; a process has one.

    While there are few beats, none waits for another.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._next: list[Beat] | None = None
        self._newest: asyncio.Task[None] | None = None

    async def write(self, beat: Beat) -> None:
        """Write one beat. Raises one of `UNREACHABLE`."""
        if self._next is None:
            self._next = []
            self._newest = asyncio.create_task(self._write(self._next, after=self._newest), name="job-beats")
        self._next.append(beat)
        assert self._newest is not None
        await asyncio.shield(self._newest)  # the other beats are written, even if this one's socket ends

    async def _write(self, beats: list[Beat], *, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        self._next = None
        await write_job_beats(self._redis, beats)
