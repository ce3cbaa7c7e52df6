"""Obey what operators order this worker: take no new jobs, take them again, or end after the last call."""

from collections.abc import Callable

from shared.contracts.workers import WorkerOrder
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


class Orders:
    """Holds whether this worker is cordoned, for as long as its process lives.

    `drain` makes the process end when its calls have ended, as SIGTERM does.
    """

    def __init__(self, *, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._cordoned = False
        self._drains = False

    @property
    def cordoned(self) -> bool:
        """Whether an operator keeps new jobs from this worker."""
        return self._cordoned

    def obey(self, order: WorkerOrder) -> None:
        """Obey an order. The same order comes with each heartbeat, and only the first time has an effect."""
        if self._drains:
            return
        if order is WorkerOrder.DRAIN:
            self._drains = self._cordoned = True
            log.info("worker_drain_ordered", message="takes no new jobs, and ends when its calls have ended")
            self._drain()
        elif order is WorkerOrder.CORDON and not self._cordoned:
            self._cordoned = True
            log.info("worker_cordoned", message="takes no new jobs until it is uncordoned")
        elif order is WorkerOrder.UNCORDON and self._cordoned:
            self._cordoned = False
            log.info("worker_uncordoned", message="takes new jobs again")
