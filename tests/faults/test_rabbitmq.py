"""A whole control plane on RabbitMQ's quorum queues: sessions get their agent in spite of its faults."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.stack_fixtures.stacks import TIME_TO_RESTART
from tests.support.rabbitmq import RabbitServer
from tests.support.sessions import Rollcall
from tests.support.workers import foreign_worker

pytestmark = pytest.mark.faults

AGENT = "joiner"


@pytest_asyncio.fixture(scope="module")
async def on_rabbitmq(
    rabbitmq: RabbitServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rollcall]:
    """Sessions of this control plane are dispatched, verified and closed by tasks on quorum queues."""
    state = tmp_path_factory.mktemp("on-rabbitmq")
    url = await rabbitmq.add_host("control-plane")
    env = {**clean_environment(TIME_TO_RESTART), "BROKER_URL": url, "BROKER_QUEUE_TYPE": "quorum"}
    async with (
        Stack(state, env=env, services=("api", "dispatcher", "verifier")) as stack,
        foreign_worker(stack, agent_name=AGENT, log=state / "worker.log"),
    ):
        rollcall = Rollcall(stack)
        yield rollcall
        await rollcall.close()


async def _gets_its_agent(rollcall: Rollcall, session_id: str) -> None:
    session = await rollcall.until_status(session_id, "active")
    room = session["room_name"]
    assert await rollcall.agents_in(room) == [session["agent_identity"]]
    await rollcall.end(session_id)
    await rollcall.until_gone(room)


async def test_a_session_gets_its_agent_and_its_room_is_closed(
    on_rabbitmq: Rollcall, rabbitmq: RabbitServer
) -> None:
    started = await on_rabbitmq.start(agent_name=AGENT)
    await _gets_its_agent(on_rabbitmq, started["session_id"])
    listed = await rabbitmq.control("list_queues", "--vhost", "control-plane", "name", "type")
    kinds = [line.split("\t")[1] for line in listed.splitlines() if line.startswith("rollcall.")]
    assert kinds == ["quorum"] * 3


async def test_sessions_that_are_started_while_rabbitmq_is_away_get_their_agent(
    on_rabbitmq: Rollcall, rabbitmq: RabbitServer
) -> None:
    rabbitmq.process.kill(group=True)
    await rabbitmq.process.wait_exit()
    started = await asyncio.gather(*(on_rabbitmq.start(agent_name=AGENT) for _ in range(3)))
    await rabbitmq.process.start()
    for one in started:
        await _gets_its_agent(on_rabbitmq, one["session_id"])


async def test_a_rabbitmq_that_stays_away_is_named_and_the_next_session_gets_its_agent(
    on_rabbitmq: Rollcall, rabbitmq: RabbitServer
) -> None:
    rabbitmq.process.freeze()
    try:
        started = await on_rabbitmq.start(agent_name=AGENT)
        failed = await on_rabbitmq.until_status(started["session_id"], "failed")
        assert failed["failure"]["cause"] == "queue_stalled"
    finally:
        rabbitmq.process.thaw()
    for service in ("dispatcher", "verifier"):
        assert on_rabbitmq.stack.process(service).restarts == 0
    again = await on_rabbitmq.start(agent_name=AGENT)
    await _gets_its_agent(on_rabbitmq, again["session_id"])
