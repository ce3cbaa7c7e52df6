"""Events reach Rollcall in order, whatever happens to it, and the call never waits for it."""

import asyncio

from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from rollcall_agent.job.publish import Publisher
from shared.contracts.events import AgentReady, Envelope, wrap
from shared.platform.clock import utc_now
from tests.unit.agent.agent_fakes import SESSION
from tests.unit.rollcall_agent.fake_backend import FakeBackend, away


def an_event(attempt: int) -> Envelope:
    return wrap(AgentReady(attempt=attempt), session_id=SESSION, source="test", time=utc_now())


async def test_events_stay_in_order_across_streams_and_failures() -> None:
    backend = FakeBackend(failing=RedisConnectionError("refused"), failures=2)
    publisher = Publisher(backend)
    publisher.start()
    wanted = [("turns" if n % 3 else "reports", an_event(n)) for n in range(20)]
    for stream, envelope in wanted:
        assert publisher.offer(stream, envelope)
    assert await publisher.flush(within_s=10)
    await publisher.aclose(flush_s=0)
    assert backend.published == wanted


async def test_a_rollcall_that_is_away_holds_up_the_end_for_a_bounded_time_only() -> None:
    publisher = Publisher(away())
    publisher.start()
    publisher.offer("reports", an_event(1))
    async with asyncio.timeout(5):
        await publisher.aclose(flush_s=0.05)


async def test_a_full_queue_drops_the_newest() -> None:
    backend = FakeBackend()
    publisher = Publisher(backend, limit=2)
    events = [an_event(n) for n in range(3)]
    assert [publisher.offer("turns", event) for event in events] == [True, True, False]
    publisher.start()
    await publisher.aclose(flush_s=5)
    assert [envelope for _, envelope in backend.published] == events[:2]


async def test_nothing_to_send_is_all_sent() -> None:
    publisher = Publisher(FakeBackend())
    publisher.start()
    assert await publisher.flush(within_s=0.01)
    await publisher.aclose(flush_s=0.01)


async def test_an_event_that_cannot_be_written_is_given_up_alone() -> None:
    backend = FakeBackend()
    publisher = Publisher(backend)
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
    assert [envelope for _, envelope in backend.published] == [*good, good[0]]
    assert [line["event"] for line in logs] == ["event_dropped"]
