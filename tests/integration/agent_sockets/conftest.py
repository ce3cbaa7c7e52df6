"""An API over real sockets, a worker and a job."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.agent_sockets.making import MINE, PAIR
from tests.integration.api_client import api_settings, served
from tests.support.agent_socket import AgentSocket, job_socket, worker_socket


@pytest.fixture
async def api(database_url: str, redis_url: str) -> AsyncIterator[str]:
    """The address of an API that is served over real sockets."""
    async with served(api_settings(database_url, redis_url)) as client:
        yield str(client.base_url)


@pytest.fixture
async def job(api: str) -> AsyncIterator[AgentSocket]:
    """The socket of the job that has my session's first attempt."""
    async with job_socket(api, PAIR.sign_attempt(MINE, 1)) as socket:
        yield socket


@pytest.fixture
async def worker(api: str) -> AsyncIterator[AgentSocket]:
    """The socket of a worker with LiveKit's key pair."""
    async with worker_socket(api, PAIR.sign_worker()) as socket:
        yield socket
