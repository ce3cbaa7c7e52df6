"""A LiveKit node dies during a conversation: another node creates the room again, with a second job.

LiveKit stores its rooms in Redis, with the agents that they were made with. Caller and agent connect again to
a node that lives, and whoever is first has it make the room, and launch its agents once more.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from livekit import api
from redis.asyncio import Redis

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.stack import Stack
from tests.faults.conftest import CONTROL_PLANE
from tests.support.guests import guest
from tests.support.sessions import Rollcall, until
from tests.support.workers import foreign_worker, our_worker

pytestmark = pytest.mark.faults


class Nodes:
    """Two LiveKit nodes with one Redis; all clients use the one that stays, at `url`."""

    def __init__(self, stack: Stack, url: str) -> None:
        self.stack = stack
        self.url = url
        self.leaving = stack.process("livekit")
        self.rollcall = Rollcall(stack)

    async def start_on_leaving(self, agent_name: str) -> dict[str, Any]:
        """Start a session whose room is on the node that can be killed; returns it once it is active."""
        while True:
            started = await self.rollcall.start(agent_name=agent_name)
            session = await self.rollcall.until_status(started["session_id"], "active")
            if await self._is_on_leaving(started["room_name"]):
                return {**started, **session}
            await self.rollcall.end(started["session_id"])

    async def seen(self, room: str) -> tuple[list[str], list[str]]:
        """Return the agents and jobs in a room that was created again; nothing before that."""
        async with api.LiveKitAPI(
            self.url, self.stack.livekit_api_key, self.stack.livekit_api_secret
        ) as asked:
            try:
                dispatches = await asked.agent_dispatch.list_dispatch(room)
            except api.TwirpError:
                return [], []
            found = await asked.room.list_participants(api.ListParticipantsRequest(room=room))
        kind = api.ParticipantInfo.Kind.AGENT
        agents = [one.identity for one in found.participants if one.kind == kind]
        return agents, [f"agent-{job.id}" for dispatch in dispatches for job in dispatch.state.jobs]

    async def _is_on_leaving(self, room: str) -> bool:
        redis = Redis.from_url(self.stack.redis_url, decode_responses=True)
        node = await redis.hget("room_node_map", room)
        await redis.aclose()
        return bool(node) and str(node) in self.leaving.log()


@pytest_asyncio.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    """A control plane beside two nodes, and inference."""
    state = tmp_path_factory.mktemp("nodes")
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    services = [*CONTROL_PLANE, "inference"]
    there = {service: {"LIVEKIT_URL": url} for service in services}
    async with Stack(state, env=clean_environment(), services=services, service_env=there) as stack:
        staying = _second_node(stack, port)
        leaving = stack.process("livekit")
        await leaving.stop()
        await leaving.start()
        await staying.start()
        nodes = Nodes(stack, url)
        yield nodes
        await nodes.rollcall.close()
        await staying.stop()


def _second_node(stack: Stack, port: int) -> Process:
    """Have the stack's LiveKit keep its rooms in the stack's Redis, and plan another node beside it."""
    config = yaml.safe_load((stack.state / "livekit.yaml").read_text())
    config["redis"] = {"address": stack.redis_url.split("/")[2]}
    (stack.state / "livekit.yaml").write_text(yaml.safe_dump(config))
    config["port"], config["rtc"]["udp_port"] = port, free_port()
    file = stack.state / "staying.yaml"
    file.write_text(yaml.safe_dump(config))
    of_stack = stack.process("livekit").spec
    at_config = of_stack.command.index("--config")
    spec = ProcessSpec(
        name="staying",
        command=[*of_stack.command[: at_config + 1], str(file)],
        env=of_stack.env,
        cwd=stack.state,
        log_file=stack.logs / "staying.log",
        ready=http_ready(f"http://127.0.0.1:{port}/"),
        stop_grace_s=1.0,
    )
    return Process(spec, notify=lambda *_: None)


@pytest.mark.parametrize("whose", ["ours", "their own"])
async def test_the_agent_of_the_first_job_stays_and_the_second_one_is_kept_out(
    nodes: Nodes, tmp_path: Path, whose: str
) -> None:
    rollcall, log, env = nodes.rollcall, tmp_path / "worker.log", {"LIVEKIT_URL": nodes.url}
    name = f"agents that are {whose}"
    worker = (
        our_worker(rollcall, agent_name=name, log=log, env=env)
        if whose == "ours"
        else foreign_worker(nodes.stack, agent_name=name, log=log, env=env)
    )
    async with worker:
        session = await nodes.start_on_leaving(name)
        session_id, room, first = session["session_id"], session["room_name"], session["agent_identity"]
        async with guest(session):
            nodes.leaving.kill_group()

            async def launched_again_and_settled() -> bool:
                agents, jobs = await nodes.seen(room)
                second = [job for job in jobs if job != first]
                turned_away = (
                    "second_job" in log.read_text()
                    if whose == "ours"
                    else "agent.extra_removed.v1" in await rollcall.event_types(session_id)
                )
                return bool(second) and turned_away and agents == [first]

            try:
                await until(launched_again_and_settled, what="the first agent is alone in the new room")
            finally:
                await nodes.leaving.start()
            after = await rollcall.session(session_id)
            assert (after["status"], after["attempt"], after["agent_identity"]) == ("active", 1, first)
            assert "agent.lost.v1" not in await rollcall.event_types(session_id)
            # Not by hanging up: the caller's SDK may have given up before a node took it in again, and the
            # session would end only once the agent has waited for a caller for a minute.
            await rollcall.end(session_id)
        await rollcall.until_status(session_id, "ended")
