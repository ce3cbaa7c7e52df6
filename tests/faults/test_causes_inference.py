"""A broken inference endpoint is the cause, and the worker reports it before the caller hears silence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.broken_inference import BrokenInference, broken_inference
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall, until
from tests.support.verdicts import judge, until_over
from tests.support.workers import our_worker

pytestmark = pytest.mark.faults

WORKER = "penniless"


@pytest_asyncio.fixture
async def endpoint(rollcall: Rollcall, tmp_path: Path) -> AsyncIterator[BrokenInference]:
    """The endpoint of a worker of ours that runs beside it."""
    async with broken_inference() as endpoint:
        env = {"LIVEKIT_INFERENCE_URL": endpoint.url}
        async with our_worker(rollcall, agent_name=WORKER, log=tmp_path / "worker.log", env=env):
            yield endpoint


async def test_inference_that_refuses_us_or_is_away(
    endpoint: BrokenInference, rollcall: Rollcall, board: Scoreboard
) -> None:
    await _fails_with(rollcall, board, "inference answers 401", "inference_unavailable")
    endpoint.status = 429
    await _fails_with(rollcall, board, "inference answers 429", "inference_quota")
    await endpoint.close()
    await _fails_with(rollcall, board, "inference down", "inference_unavailable")


async def _fails_with(rollcall: Rollcall, board: Scoreboard, scenario: str, cause: str) -> None:
    started = await rollcall.start(agent_name=WORKER)
    verdict = await until_over(rollcall, started["session_id"])
    judge(board, verdict, f"our worker: {scenario}", cause)

    async def in_the_registry() -> list[dict[str, Any]]:
        workers = (await rollcall.get("/v1/workers"))["workers"]
        [worker] = [worker for worker in workers if worker["agent_name"] == WORKER]
        return [fault for fault in worker["faults"] if fault["cause"] == cause]

    await until(in_the_registry, what="the worker's heartbeat says so too")
