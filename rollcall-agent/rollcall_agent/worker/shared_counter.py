"""A number that jobs' processes increase and the worker reads, because Prometheus does not scrape jobs."""

import ctypes
import multiprocessing


class SharedCounter:
    """Each job's process gets it at its start.

    A plain number without a lock, because a killed process could not release a lock. Two jobs that add at the
    same instant may count as one.
    """

    def __init__(self) -> None:
        self._number = multiprocessing.get_context("forkserver").RawValue(ctypes.c_ulong, 0)
        self._taken = 0

    def add(self) -> None:
        """Increase the number by one."""
        self._number.value += 1

    def take(self) -> int:
        """Return how many were added since the last call."""
        total = int(self._number.value)
        new, self._taken = total - self._taken, total
        return new
