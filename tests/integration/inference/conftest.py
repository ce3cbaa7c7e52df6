"""One inference process for the tests of its wire."""

from collections.abc import AsyncIterator

import pytest
from livekit.agents import utils

from tests.integration.inference.inference_process import Server, running_process, until_ready


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    with running_process(tmp_path_factory.mktemp("inference")) as running:
        await until_ready(running)
        yield running


@pytest.fixture(autouse=True)
async def _http_context() -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield
