"""A job keeps beating whatever happens to Redis, and does not flood the log."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from rollcall_agent.job import job_beat
from rollcall_agent.job.job_beat import JobBeat
from tests.unit.agent.agent_fakes import an_order


class FailingRedis:
    """Fails every call, and lets a test wait for a number of them."""

    def __init__(self, failure: Exception) -> None:
        self.calls = 0
        self._failure = failure

    async def hset(self, *_: Any) -> None:
        self.calls += 1
        raise self._failure

    async def hdel(self, *_: Any) -> None:
        raise RedisConnectionError("connection refused")


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
    redis = FailingRedis(failure)
    beat = JobBeat(redis=cast("Redis", redis), order=an_order())
    beat.start()
    async with asyncio.timeout(30):
        while redis.calls < 50:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await beat.aclose()
    assert log.warnings == ["job_beat_failed", "job_not_forgotten"]
