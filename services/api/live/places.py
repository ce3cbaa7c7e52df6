"""The places of a process's followers: how many there are, and how many a project may take."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from services.api import metrics
from services.api.errors.problems import Problem
from services.api.live.subscriber import Follower

# A client that hangs up before its first event loses its place after this time.
_COMING_S: Final = 10.0


class Places:
    """`most` are the places of all projects together, `share` those of one."""

    def __init__(self, most: int, share: int) -> None:
        self._most = most
        self._share = share
        self._taken: Counter[str] = Counter()
        self._coming: dict[Follower, float] = {}

    def reserve(self, followers: Iterable[Follower]) -> None:
        """Reserve a place for each follower that is admitted and not yet served.

        Raises `Problem` if there is none; the places that were reserved before it become free again in time.
        """
        now = asyncio.get_running_loop().time()
        self._coming = {one: until for one, until in self._coming.items() if until > now}
        for follower in followers:
            self._refuse_one_too_many(follower.asking.project)
            self._coming[follower] = now + _COMING_S

    @contextmanager
    def taken(self, follower: Follower) -> Iterator[None]:
        """Hold a follower's place while it is served."""
        self._coming.pop(follower, None)
        self._count(1, follower.asking.project)
        try:
            yield
        finally:
            self._count(-1, follower.asking.project)

    def _refuse_one_too_many(self, project: str) -> None:
        taken = self._taken + Counter(one.asking.project for one in self._coming)
        headers = {"Retry-After": "5"}
        if taken.total() >= self._most:
            metrics.follower_refused()
            detail = f"this process serves {self._most} followers already; try again later"
            raise Problem(503, "too_many_followers", detail, headers=headers)
        if taken[project] >= self._share:
            metrics.follower_refused()
            detail = f"this process serves {self._share} followers of this project already; try again later"
            raise Problem(429, "too_many_followers_project", detail, headers=headers)

    def _count(self, change: int, project: str) -> None:
        self._taken[project] += change
        if not self._taken[project]:
            del self._taken[project]
        metrics.followers(self._taken.total())
