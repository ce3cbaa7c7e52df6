"""A job keeps beating whatever happens to Rollcall, and does not flood the log."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from rollcall_agent.job import job_beat
from rollcall_agent.job.job_beat import JobBeat
from tests.unit.agent.agent_fakes import SESSION
from tests.unit.rollcall_agent.fake_backend import FakeBackend, away


class ListedLog:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **_: Any) -> None:
        self.warnings.append(event)


@pytest.mark.parametrize("failure", [RedisConnectionError("refused"), TimeoutError(), RuntimeError("odd")])
async def test_no_failure_ends_the_beat_or_is_told_twice_a_minute(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ListedLog()
    monkeypatch.setattr(job_beat, "log", log)
    monkeypatch.setattr(job_beat, "JOB_BEAT_INTERVAL_S", 0.0)
    backend = FakeBackend(failing=failure, failures=50)
    beat = JobBeat(backend.attempt(SESSION, 1, None), job_id="AJ_1")
    beat.start()
    async with asyncio.timeout(30):
        while backend.calls < 50:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await beat.aclose()
    assert log.warnings == ["job_beat_failed"]


async def test_a_job_that_cannot_say_its_end_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = ListedLog()
    monkeypatch.setattr(job_beat, "log", log)
    beat = JobBeat(away().attempt(SESSION, 1, None), job_id="AJ_1")
    beat.start()
    await beat.aclose()
    assert log.warnings[-1:] == ["job_not_forgotten"]
