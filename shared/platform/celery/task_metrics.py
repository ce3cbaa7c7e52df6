"""The metrics of a Celery worker's tasks. It is one process with threads, so the ordinary registry works."""

import time
from typing import Any, Final

from celery import Celery, signals
from prometheus_client import Counter, Histogram

# A header of every task that we enqueue: the time of enqueueing, in seconds since 1970.
ENQUEUED_AT: Final = "enqueued_at"

_TASKS = Counter(
    "celery_tasks_total", "Celery tasks that ran, by outcome (succeeded, failed).", ["task", "outcome"]
)
_SECONDS = Histogram(
    "celery_task_seconds",
    "How long Celery tasks ran; verify_session runs as long as it waits for the agent.",
    ["task"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
)
_WAITED = Histogram(
    "celery_task_wait_seconds",
    "Time from enqueueing a Celery task until it starts.",
    ["task"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


class TaskMeter:
    """Measures the tasks of the Celery worker in this process."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    def install(self, app: Celery) -> None:
        """Start measuring; the counts of every task of `app` begin at 0."""
        for task in app.tasks:
            if not task.startswith("celery."):
                for outcome in ("succeeded", "failed"):
                    _TASKS.labels(task, outcome)
                _SECONDS.labels(task)
                _WAITED.labels(task)
        signals.task_prerun.connect(self._begins, weak=False)
        signals.task_postrun.connect(self._ends, weak=False)

    def _begins(self, *, task_id: str, task: Any, **_: Any) -> None:
        self._begun[task_id] = time.perf_counter()
        enqueued_at = task.request.get(ENQUEUED_AT)
        if isinstance(enqueued_at, int | float):
            _WAITED.labels(task.name).observe(max(0.0, time.time() - enqueued_at))

    def _ends(self, *, task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
        _TASKS.labels(task.name, "succeeded" if state == "SUCCESS" else "failed").inc()
        begun = self._begun.pop(task_id, None)
        if begun is not None:
            _SECONDS.labels(task.name).observe(time.perf_counter() - begun)
