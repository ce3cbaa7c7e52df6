"""The CPU seconds and resident memory of processes, as the operating system counts them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from devstack.process import Process
from devstack.stack import Stack

MEGABYTE: Final = 1_000_000
# This process, which starts the sessions.
CLIENT: Final = "bench"


@dataclass(frozen=True)
class Usage:
    """The usage of one process and its children since its start."""

    cpu_s: float = 0.0
    rss_mb: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu_s + other.cpu_s, self.rss_mb + other.rss_mb)


def usage(stack: Stack, joiners: Sequence[Process] = ()) -> dict[str, Usage]:
    """Return usage by process name, with all joiners as one, and including this process."""
    found = {p.spec.name: _of(p.pid) for p in stack.processes() if p.pid is not None}
    found[CLIENT] = _one(psutil.Process(os.getpid()))
    for process in joiners:
        found["joiners"] = found.get("joiners", Usage()) + _of(process.pid)
    return found


def cpu_between(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, float]:
    """Return CPU seconds by process name."""
    return {name: after[name].cpu_s - before[name].cpu_s for name in after if name in before}


def _of(pid: int | None) -> Usage:
    total = Usage()
    if pid is None:
        return total
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            total += _one(one)
    return total


def _one(process: psutil.Process) -> Usage:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return Usage(times.user + times.system, process.memory_info().rss / MEGABYTE)
    return Usage()
