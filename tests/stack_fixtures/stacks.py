"""Whole stacks of real processes."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from devstack.environment import clean_environment

if TYPE_CHECKING:
    from devstack.stack import Stack

StartStack = Callable[..., Awaitable["Stack"]]

LOG_LINES_ON_FAILURE = 40
# Several stacks share the processor, so a healthy agent may need longer than the product waits for it. Stacks
# of tests about these limits have the product's own.
LONG_LIMITS: Final = {
    "AGENT_START_WINDOW_S": "12",
    "OWN_WORKER_WINDOW_S": "6",
}
# Where no test waits until it has passed.
LONG_BUDGET: Final = {"JOIN_BUDGET_S": "45", "AGENT_SILENCE_S": "6"}
# Where a test kills what then has to start again: beside other stacks, that was seen to take 14 s.
TIME_TO_RESTART: Final = {"JOIN_BUDGET_S": "30"}


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, page_origin: str) -> "AsyncIterator[Stack]":
    """A running stack with all services, shared by all tests that break nothing."""
    from devstack.stack import Stack

    # Receivers of webhooks in tests are on this machine.
    env = clean_environment(
        {
            **LONG_LIMITS,
            **LONG_BUDGET,
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_ALLOW_HTTP": "true",
            "CORS_ALLOWED_ORIGINS": page_origin,
        }
    )
    async with Stack(tmp_path_factory.mktemp("stack"), env=env, tell=print) as running:
        yield running


@pytest.fixture
async def start_stack(tmp_path: Path) -> AsyncIterator[StartStack]:
    """Starts a stack for one test: `await start_stack(services={"api"}, restart=False, …)`.

    Takes the fields of `StackOptions`; `env` is added to an environment without the developer's settings.
    """
    from devstack.stack import Stack

    numbers = itertools.count(1)
    async with AsyncExitStack() as stacks:

        async def start(*, env: dict[str, str] | None = None, **options: Any) -> "Stack":
            folder = tmp_path / f"stack-{next(numbers)}"
            started = Stack(folder, env=clean_environment(env), tell=print, **options)
            return await stacks.enter_async_context(started)

        yield start


def ends_of_logs(stack: "Stack") -> str:
    """Return the last lines of every process's log, for the report of a failed test."""
    ends = []
    for process in stack.processes():
        lines = process.log().splitlines()[-LOG_LINES_ON_FAILURE:]
        ends.append(f"--- {process.spec.name} (restarts: {process.restarts})\n" + "\n".join(lines))
    return "\n".join(ends)
