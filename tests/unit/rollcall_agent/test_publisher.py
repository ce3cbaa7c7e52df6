"""Events reach Redis in order, whatever Redis does, and the call never waits for it."""

import asyncio
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from rollcall_agent.job.publish import Publisher
from shared.contracts.events import AgentReady, Envelope, wrap
from shared.platform.clock import utc_now
from tests.unit.agent.agent_fakes import SESSION


class FlakyRedis:
    """Takes entries, but for the first `failures` pipelines."""

    def __init__(self, failures: int = 0, *, away: bool = False) -> None:
        self.entries: list[tuple[str, Envelope]] = []
        self._failures = failures
        self._away = away
        self._piped: list[tuple[str, Envelope]] = []

    def pipeline(self, *, transaction: bool) -> "FlakyRedis":
        self._piped = []
        return self

    async def __aenter__(self) -> "FlakyRedis":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def xadd(self, stream: str, fields: dict[str, str], **_: Any) -> None:
        self._piped.append((stream, Envelope.model_validate_json(fields["event"])))

    async def execute(self) -> None:
        await asyncio.sleep(0)
        if self._away or self._failures > 0:
            self._failures -= 1
            raise RedisConnectionError("connection refused")
        self.entries += self._piped


def an_event(attempt: int) -> Envelope:
    return wrap(AgentReady(attempt=attempt), session_id=SESSION, source="test", time=utc_now())


def a_publisher(redis: FlakyRedis, **limits: int) -> Publisher:
    return Publisher(cast("Redis", redis), **limits)


async def test_events_stay_in_order_across_streams_and_failures() -> None:
    redis = FlakyRedis(failures=2)
    publisher = a_publisher(redis)
    publisher.start()
    wanted = [("turns" if n % 3 else "reports", an_event(n)) for n in range(20)]
    for stream, envelope in wanted:
        assert publisher.offer(stream, envelope)
    assert await publisher.flush(within_s=10)
    await publisher.aclose(flush_s=0)
    assert redis.entries == wanted


async def test_a_redis_that_is_away_holds_up_the_end_for_a_bounded_time_only() -> None:
    publisher = a_publisher(FlakyRedis(away=True))
    publisher.start()
    publisher.offer("reports", an_event(1))
    async with asyncio.timeout(5):
        await publisher.aclose(flush_s=0.05)


async def test_a_full_queue_drops_the_newest() -> None:
    redis = FlakyRedis()
    publisher = a_publisher(redis, limit=2)
    events = [an_event(n) for n in range(3)]
    assert [publisher.offer("turns", event) for event in events] == [True, True, False]
    publisher.start()
    await publisher.aclose(flush_s=5)
    assert [envelope for _, envelope in redis.entries] == events[:2]


async def test_nothing_to_send_is_all_sent() -> None:
    publisher = a_publisher(FlakyRedis())
    publisher.start()
    assert await publisher.flush(within_s=0.01)
    await publisher.aclose(flush_s=0.01)


async def test_an_event_that_cannot_be_written_is_given_up_alone() -> None:
    redis = FlakyRedis()
    publisher = a_publisher(redis)
    publisher.start()
    good = [an_event(n) for n in range(3)]
    bad = good[0].model_copy(update={"data": {"text": "\ud83d"}})  # past every check
    for envelope in (good[0], bad, *good[1:]):
        publisher.offer("turns", envelope)
    with capture_logs() as logs:
        assert await publisher.flush(within_s=10)
    publisher.offer("turns", good[0])
    assert await publisher.flush(within_s=10)
    await publisher.aclose(flush_s=0)
    assert [envelope for _, envelope in redis.entries] == [*good, good[0]]
    assert [line["event"] for line in logs] == ["event_dropped"]
