"""Celery workers of tests/support/consuming.py on brokers that a test breaks, and senders of tasks."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.process import Process, ProcessSpec
from devstack.services import REPOSITORY
from shared.contracts.keys import DISPATCH_TASK, VERIFY_TASK
from shared.platform.celery.tasks import TaskSender, make_celery
from tests.support.sessions import until
from tests.support.wire import Wire, open_wire

# RabbitMQ takes this long to start on a loaded machine.
PATIENCE_S = 120.0
RESENT_AFTER_S = 10.0


class Consumers:
    """One Celery worker that reaches its broker through a wire, and a sender that does not use the wire."""

    def __init__(self, folder: Path, *, name: str, wire: Wire, url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.wire = name, wire
        self._notebook = folder / "notebook"
        self._notebook.touch()
        self._numbers = 0
        self._probe = f"http://127.0.0.1:{(port := free_port())}"
        self.sender = sender_of(name, url)
        env = {
            "BROKER_URL": through(wire, url),
            "BROKER_QUEUE_TYPE": _queue_type(name),
            "NOTEBOOK": str(self._notebook),
            "PROBE_PORT": str(port),
        }
        spec = ProcessSpec(
            name=name,
            command=[sys.executable, "-m", "tests.support.consuming"],
            env={**clean_environment(), **env},
            cwd=REPOSITORY,
            log_file=folder / "worker.log",
            restart=False,
        )
        self.process = Process(spec, notify=lambda *_: None)

    async def send(self, kind: str, *, task: str = DISPATCH_TASK) -> str:
        """Enqueue one task as soon as the broker accepts it; return its id."""
        self._numbers += 1
        name = f"{kind}-{self._numbers}"

        async def sent() -> bool:
            try:
                await self.sender.send(task, [name])
            except (KombuError, RedisError, OSError):
                return False
            return True

        await until(sent, what=f"{self.name} takes a task", timeout_s=PATIENCE_S)
        return name

    async def burst(self) -> None:
        """Return once tasks of both kinds are running and others wait."""
        names = [await self.send("slow", task=task) for task in (DISPATCH_TASK, VERIFY_TASK) * 5]
        await self.has(f"begun {names[3]}")

    async def consumes(self) -> None:
        """Return once a new task has finished in the process that was there from the start.

        A message to a queue that is about to disappear is lost. So this sends more, like the sweep, until one
        arrives.
        """

        async def done() -> bool:
            name = await self.send("quick")
            with suppress(AssertionError):
                await self.has(f"done {name}", timeout_s=RESENT_AFTER_S)
                return True
            assert self.process.pid is not None, self._ended()
            return False

        await until(done, what=f"{self.name} consumes", timeout_s=PATIENCE_S)
        assert self.process.pid is not None, self._ended()
        await self.answers("livez", 200)
        await self.answers("readyz", 200)

    async def has(self, line: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Return once the notebook has this line."""

        async def written() -> bool:
            assert self.process.pid is not None, self._ended()
            return line in self._notebook.read_text().splitlines()

        await until(written, what=f"{self.name}: {line}", timeout_s=timeout_s)

    async def answers(self, probe: str, status: int) -> None:
        """Return once `/livez` or `/readyz` answers with this status."""

        async def answered() -> bool:
            try:
                async with httpx.AsyncClient(timeout=5) as http:
                    return (await http.get(f"{self._probe}/{probe}")).status_code == status
            except httpx.TransportError:
                assert self.process.pid is not None, self._ended()
                return False

        await until(answered, what=f"{self.name}: /{probe} says {status}", timeout_s=PATIENCE_S)

    def _ended(self) -> str:
        return f"{self.name} ended with {self.process.exit_code}:\n{self.process.log()[-4000:]}"


@asynccontextmanager
async def consumers(folder: Path, name: str, url: str) -> AsyncIterator[Consumers]:
    """A started Celery worker on `redis`, or on a RabbitMQ with `classic` or `quorum` queues."""
    port = urlsplit(url).port
    assert port is not None
    async with open_wire(port) as wire:
        running = Consumers(folder, name=name, wire=wire, url=url)
        await running.process.start()
        try:
            yield running
        finally:
            running.sender.close()
            running.process.kill_group()
            await running.process.stop()


def through(wire: Wire, url: str) -> str:
    """The broker's URL, by way of the wire."""
    parts = urlsplit(url)
    login = f"{parts.username}:{parts.password}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{wire.port}"))


def sender_of(name: str, url: str) -> TaskSender:
    """Return a sender of tasks on `redis`, or on `classic` or `quorum` queues."""
    return TaskSender(make_celery("tests", url, queue_type=_queue_type(name)))


def _queue_type(name: str) -> str:
    return "quorum" if name == "quorum" else "classic"
