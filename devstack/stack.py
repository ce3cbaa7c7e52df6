"""A whole stack of servers and services on this machine, for `rollcall up`, the demo and the tests."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from devstack.process import Notify, Process
from devstack.provision.server import ProvisionError, Tell
from devstack.services import port_variable
from devstack.stack_plan import Plan, StackOptions, plan_stack
from devstack.state import STACK_FILE, write_stack_file
from devstack.supervise import Supervisor


def _silent(*_: str) -> None:
    """Ignore notices."""


class Stack:
    """An asynchronous context manager: ready when entered, no process left behind when left.

    Takes a state folder and the fields of `StackOptions`. `tell` receives lines about the preparation,
    `notify` the events of processes. Entering raises `ProvisionError` or `StartFailed`.
    """

    def __init__(
        self, state: Path, *, tell: Tell = _silent, notify: Notify = _silent, **options: Any
    ) -> None:
        self.state = state.resolve()
        self._options = StackOptions(state=self.state, **options)
        self._tell = tell
        self._notify = notify
        self._cleanup = AsyncExitStack()
        self._plan: Plan | None = None
        self._supervisor: Supervisor | None = None

    async def __aenter__(self) -> Self:
        """Start everything and wait until it is ready."""
        async with AsyncExitStack() as undo:
            self.logs.mkdir(parents=True, exist_ok=True)
            undo.enter_context(_only_one(self.state))
            self._plan = await plan_stack(self._options, tell=self._tell)
            self._supervisor = Supervisor(self._plan.specs, notify=self._notify)
            await self._supervisor.start()
            undo.push_async_callback(self._supervisor.stop)
            api_url = self.api_url if self.plan.api_port else None
            write_stack_file(self.state, api_url=api_url, env=self.plan.env)
            undo.callback((self.state / STACK_FILE).unlink, missing_ok=True)
            self._cleanup = undo.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything in reverse order."""
        await self._cleanup.__aexit__(kind, error, traceback)

    def kill(self) -> None:
        """Kill every process at once, for a user who does not want to wait."""
        if self._supervisor is not None:
            self._supervisor.kill_all()

    def process(self, name: str) -> Process:
        """Return the process of this name: a service, a replica, `livekit` or `redis`. Raises `KeyError`."""
        if self._supervisor is None:
            raise RuntimeError("the stack was never started")
        return self._supervisor[name]

    def processes(self) -> list[Process]:
        """All processes of this stack, including the migration."""
        return list(self._supervisor or ())

    def metrics_addresses(self) -> dict[str, list[str]]:
        """Return host and port at which each service's processes answer `/metrics`."""
        addresses: dict[str, list[str]] = {}
        for process in self.processes():
            variables, service = process.spec.env, process.spec.name.rstrip("-0123456789")
            if (port := variables.get(port_variable(service))) and process.spec.command[
                -1
            ] == f"services.{service}":
                addresses.setdefault(service, []).append(f"127.0.0.1:{port}")
        return addresses

    @property
    def plan(self) -> Plan:
        """What runs, and where; known once the stack starts."""
        if self._plan is None:
            raise RuntimeError("the stack was never started")
        return self._plan

    @property
    def env(self) -> dict[str, str]:
        """The variables that every service gets."""
        return dict(self.plan.env)

    @property
    def logs(self) -> Path:
        """The folder with one log file for each process."""
        return self.state / "logs"

    @property
    def api_url(self) -> str:
        """The API's address."""
        if self.plan.api_port is None:
            raise RuntimeError("this stack has no API")
        return f"http://127.0.0.1:{self.plan.api_port}"

    @property
    def asks_for_keys(self) -> bool:
        """Whether the API requires a key."""
        return self.plan.env.get("API_AUTH") == "keys"

    @property
    def livekit_url(self) -> str:
        """The URL of the LiveKit server."""
        return self.plan.env["LIVEKIT_URL"]

    @property
    def livekit_api_key(self) -> str:
        """The key for the LiveKit server."""
        return self.plan.env["LIVEKIT_API_KEY"]

    @property
    def livekit_api_secret(self) -> str:
        """The secret for the LiveKit server."""
        return self.plan.env["LIVEKIT_API_SECRET"]

    @property
    def redis_url(self) -> str:
        """The URL of the Redis server."""
        return self.plan.env["REDIS_URL"]

    @property
    def database_url(self) -> str:
        """The URL of the database."""
        return self.plan.env["DATABASE_URL"]


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    lock = FileLock(state / "stack.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ProvisionError(
            f"another stack runs in {state}: stop it, or name another folder with --state"
        ) from None
    try:
        yield
    finally:
        lock.release()
