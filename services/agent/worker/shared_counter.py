"""A number that the jobs' processes add to and the worker reads: their own metrics nobody sees."""

import ctypes
import multiprocessing


class SharedCounter:
    """Handed to each process at its start.

    A plain number without a lock, which a killed process could not give back: two jobs that add in the same
    instant may count as one.
    """

    def __init__(self) -> None:
        self._number = multiprocessing.get_context("forkserver").RawValue(ctypes.c_ulong, 0)
        self._taken = 0

    def add(self) -> None:
        """Count one more."""
        self._number.value += 1

    def take(self) -> int:
        """How many were added since the last time."""
        total = int(self._number.value)
        new, self._taken = total - self._taken, total
        return new
