"""Two stacks for all end-to-end tests: a whole one, and one without any agent worker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.support.sessions import Rollcall


@pytest_asyncio.fixture
async def rollcall(stack: Stack) -> AsyncIterator[Rollcall]:
    """The whole stack, shared by all tests of this run."""
    client = Rollcall(stack)
    yield client
    await client.close()


@pytest_asyncio.fixture(scope="session")
async def agentless_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Servers, API, dispatcher and verifier, without a worker of ours."""
    state = tmp_path_factory.mktemp("agentless")
    async with Stack(state, env=clean_environment(), services=["api", "dispatcher", "verifier"]) as stack:
        yield stack


@pytest_asyncio.fixture
async def agentless(agentless_stack: Stack) -> AsyncIterator[Rollcall]:
    client = Rollcall(agentless_stack)
    yield client
    await client.close()


@pytest.fixture
def worker_log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"
