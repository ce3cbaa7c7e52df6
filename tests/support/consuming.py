"""A Celery worker as ours are, whose tasks write down that they ran: `python -m tests.support.consuming`.

It needs a broker and nothing else. A task's id says what it does: `slow-…` takes a while. SIGVTALRM makes
its main thread, which is the consumer's, stand still for good.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.contracts.keys import DISPATCH_QUEUE, DISPATCH_TASK, VERIFY_QUEUE, VERIFY_TASK
from shared.contracts.settings import BrokerSettings, ProcessSettings
from shared.platform.celery.tasks import CeleryProcess, make_celery
from shared.platform.config import load_settings

SLOW_S = 2.0


class ConsumingSettings(BrokerSettings, ProcessSettings):
    """The settings of this process."""


class Notebook:
    """Lines of `begun ID` and `done ID` in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def note(self, task: str) -> None:
        """Run as long as the task's id says."""
        self._write(f"begun {task}")
        if task.startswith("slow"):
            await asyncio.sleep(SLOW_S)
        self._write(f"done {task}")

    def _write(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(f"{line}\n")


@asynccontextmanager
async def open_notebook() -> AsyncIterator[Notebook]:
    """The file is named by the environment."""
    yield Notebook(Path(os.environ["NOTEBOOK"]))


settings = load_settings(ConsumingSettings)
app = make_celery("consuming", settings.celery_broker_url, queue_type=settings.broker_queue_type)
process: CeleryProcess[Notebook] = CeleryProcess(
    app, name="consuming", service=open_notebook, settings=settings
)


@app.task(name=DISPATCH_TASK)
def dispatch(task: str) -> None:
    """Like the dispatcher's task: it runs to its end."""
    process.run(lambda notebook: notebook.note(task))


@app.task(name=VERIFY_TASK)
def verify(task: str) -> None:
    """Like the verifier's task: it ends when the process is told to stop."""
    process.run(lambda notebook: notebook.note(task), interruptible=True)


if __name__ == "__main__":
    signal.signal(signal.SIGVTALRM, lambda *_: time.sleep(3600))
    process.main(queues=[DISPATCH_QUEUE, VERIFY_QUEUE], concurrency=8)
