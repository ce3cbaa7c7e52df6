"""How many files and sockets this process may open, and how many of them callers may use."""

import resource
from contextlib import suppress
from typing import Final

# No process of ours needs more. Some containers allow a billion, and programs that close "all" descriptors
# then take minutes.
MOST: Final = 65_536
# Reserved for everything but callers: connections to the database, Redis, the broker and LiveKit, and files.
KEPT_BACK: Final = 256


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one, which every process may do for itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # macOS says "no limit" and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_callers(wanted: int) -> int:
    """Return how many connections callers may have: as many as wanted, unless descriptors would run out."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - min(KEPT_BACK, soft // 2)))
