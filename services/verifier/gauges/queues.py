"""Measure how many tasks wait in Celery's queues, and for how long."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis

from shared.platform.celery.task_metrics import ENQUEUED_AT
from shared.platform.celery.tasks import TASK_QUEUES, TaskSender


class Waiting(NamedTuple):
    """The tasks that wait in one queue: their number, and the age of the oldest."""

    tasks: int
    oldest_s: float


class Queues(Protocol):
    """Celery's queues on either broker."""

    async def count_waiting(self) -> Mapping[str, Waiting]:
        """Return the waiting tasks by queue; raises `RedisError`, `KombuError` or `OSError`."""
        ...

    async def close(self) -> None:
        """Close the connections that it opened."""
        ...


class RedisQueues:
    """On Redis a queue is a list, and its last message can be read."""

    def __init__(self, broker: Redis) -> None:
        self._broker = broker

    async def count_waiting(self) -> Mapping[str, Waiting]:
        """Return the waiting tasks by queue; raises `RedisError` or `OSError`."""
        found = {}
        for queue in TASK_QUEUES.values():
            # Celery adds on the left and takes from the right.
            async with self._broker.pipeline(transaction=False) as pipe:
                pipe.llen(queue)
                pipe.lindex(queue, -1)
                length, last = await pipe.execute()
            found[queue] = Waiting(int(length), _age_of_task_s(last))
        return found

    async def close(self) -> None:
        """Close the connections to the broker."""
        await self._broker.aclose()


class AmqpQueues:
    """RabbitMQ shows only a queue's length; a message can't be read without taking it.

    So the age is how long the queue has not been seen empty; no task has waited longer.
    """

    def __init__(self, tasks: TaskSender, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tasks = tasks
        self._clock = clock
        self._not_empty_since: dict[str, float] = {}

    async def count_waiting(self) -> Mapping[str, Waiting]:
        """Return the waiting tasks by queue; raises `KombuError` or `OSError`."""
        now = self._clock()
        lengths = await self._tasks.waiting()
        self._not_empty_since = {
            queue: self._not_empty_since.get(queue, now) for queue, length in lengths.items() if length
        }
        return {
            queue: Waiting(length, now - self._not_empty_since.get(queue, now))
            for queue, length in lengths.items()
        }

    async def close(self) -> None:
        """Nothing to close: the sender's owner closes it."""


def _age_of_task_s(message: Any) -> float:
    """Return how long ago a task was enqueued; 0 if there is none, or if it is not ours."""
    if message is None:
        return 0.0
    try:
        enqueued_at = float(json.loads(message)["headers"][ENQUEUED_AT])
    except (ValueError, KeyError, TypeError):
        return 0.0
    return max(0.0, time.time() - enqueued_at)
