"""How fast one client is read. Whoever sends more waits in TCP's own buffers, and loses nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

# A job sends two beats a second, a few steps, and a turn or caption now and then; a worker one beat a second
# for each change of its jobs, and the turns on its disk.
FRAMES_A_SECOND: Final = 100.0
FRAMES_AT_ONCE: Final = 400.0
# A frame of so many bytes counts as one; a longer one as several.
BYTES_A_FRAME: Final = 16 * 1024


class Pace:
    """A bucket of frames that fills up again with time."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._left = FRAMES_AT_ONCE
        self._at = clock()

    async def keep(self, size: int) -> None:
        """Wait until a frame of this size, in bytes, may be handled."""
        now = self._clock()
        self._left = min(FRAMES_AT_ONCE, self._left + (now - self._at) * FRAMES_A_SECOND)
        self._at = now
        self._left -= 1 + size / BYTES_A_FRAME
        if self._left < 0:
            await self._sleep(-self._left / FRAMES_A_SECOND)
