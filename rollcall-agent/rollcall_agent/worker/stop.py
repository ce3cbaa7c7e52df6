"""The end of a worker: its limits, and how its jobs learn of it."""

import ctypes
import multiprocessing

# A worker that ends sends its last reports for at most so long.
FLUSH_S = 3.0
# By then the turns of the last calls are mostly stored, and their files can be removed.
SPOOL_FINISH_S = 1.5


class WorkerStop:
    """Tells jobs' processes that their worker is stopping.

    The SDK gives the same reason when the worker stops and when LiveKit withdraws a job. Each process gets
    this object at its start. It is a plain byte without a lock, because a killed process could not release a
    lock.
    """

    def __init__(self) -> None:
        self._flag = multiprocessing.get_context("forkserver").RawValue(ctypes.c_bool, False)

    def announce(self) -> None:
        """Announce that jobs that end from now on end because the worker stops."""
        self._flag.value = True

    @property
    def announced(self) -> bool:
        """Whether the worker is stopping."""
        return bool(self._flag.value)
