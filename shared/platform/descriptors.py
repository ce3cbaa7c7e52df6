"""How many files and sockets this process may have open, and how many of them may be callers'."""

import resource
from contextlib import suppress
from typing import Final

# More than any process of ours needs. Some containers allow a billion, and programs that then close "all"
# descriptors take minutes.
MOST: Final = 65_536
# For what is not a caller: connections to the database, Redis, the broker and LiveKit, and files.
KEPT_BACK: Final = 256


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one, as a process may for itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # macOS says "no limit" and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_callers(wanted: int) -> int:
    """How many connections of callers there may be: as many as wanted, unless descriptors would run out."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - min(KEPT_BACK, soft // 2)))
