"""An agent's job process is killed in an active session: how soon is that noticed, and the agent replaced?

Bare LiveKit keeps listing the dead agent, and brings no other. Rollcall sees the job's beats stop.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
from livekit import api, rtc

from bench.client import Bare, Client, new_room, open_bare, open_client
from bench.options import BenchFailed, Figure, Options, Results, p50, say, seconds, show_times
from bench.stacks import EVERYTHING, bench_stack, until_idle
from devstack.stack import Stack

AIM_LOST_S = 3.0
AIM_REPLACED_S = 5.0
TIMEOUT_S = 60.0
# After the join: the agent greets, and its beats are known.
TALK_S = 2.0
POLL_S = 0.1
AGENT_NAME = "agent"


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    rounds = chosen.pick_rounds(short=2, full=10)
    ghosts, lost, replaced = [], [], []
    async with (
        bench_stack(chosen, services=EVERYTHING) as stack,
        open_client(stack) as client,
        open_bare(stack) as bare,
    ):
        for number in range(rounds):
            await until_idle(stack, AGENT_NAME)
            to_lost, to_replaced = await _ours(stack, client)
            lost.append(to_lost)
            replaced.append(to_replaced)
            say(f"round {number + 1}/{rounds}: lost {seconds(to_lost)}, replaced {seconds(to_replaced)}")
            if number < max(2, rounds // 3):  # a constant of LiveKit's; a few are enough
                await until_idle(stack, AGENT_NAME)
                ghosts.append(await _ghost(stack, bare))
                say(f"round {number + 1}/{rounds}: bare, LiveKit's ghost went after {seconds(ghosts[-1])}")
    show_times(
        "after SIGKILL of the agent's process",
        [
            ("bare: LiveKit lists the ghost for", ghosts),
            ("rollcall: agent.lost", lost),
            ("rollcall: another agent ACTIVE", replaced),
        ],
    )
    figures = [
        Figure(name, seconds(p50(values)), f"at most {seconds(aim)}", p50(values) <= aim)
        for name, values, aim in (
            ("kill to agent.lost, p50", lost, AIM_LOST_S),
            ("kill to another agent ACTIVE, p50", replaced, AIM_REPLACED_S),
        )
    ]
    worst = max(replaced)
    figures.append(
        Figure("the slowest", seconds(worst), f"at most {seconds(AIM_REPLACED_S)}", worst <= AIM_REPLACED_S)
    )
    results.show("revive", "revival", figures)


async def _ours(stack: Stack, client: Client) -> tuple[float, float]:
    session = await client.start(agent_name=AGENT_NAME)
    session_id = session["session_id"]
    async with _caller(session["server_url"], session["participant_token"]):
        await client.feed.until(session_id, "agent.joined.v1", timeout_s=TIMEOUT_S)
        await asyncio.sleep(TALK_S)
        known = len(client.feed.events[session_id])
        killed_at = _kill_the_talking_job(stack)
        lost = await client.feed.until(session_id, "agent.lost.v1", after=known, timeout_s=TIMEOUT_S)
        joined = await client.feed.until(session_id, "agent.joined.v1", after=known, timeout_s=TIMEOUT_S)
    await client.end(session_id)
    return lost.at - killed_at, joined.at - killed_at


async def _ghost(stack: Stack, bare: Bare) -> float:
    room = new_room()
    await bare.dispatch(room, AGENT_NAME)
    token = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret).with_identity("caller")
    grants = api.VideoGrants(room_join=True, room=room)
    async with _caller(stack.livekit_url, token.with_grants(grants).to_jwt()):
        await bare.until_active(room, pause_s=POLL_S)
        await asyncio.sleep(TALK_S)
        killed_at = _kill_the_talking_job(stack)
        async with asyncio.timeout(TIMEOUT_S):
            while await bare.agents(room):
                await asyncio.sleep(POLL_S)
        taken = time.time() - killed_at
    await bare.delete_room(room)
    return taken


@asynccontextmanager
async def _caller(url: str, token: str) -> AsyncIterator[None]:
    room = rtc.Room()
    await room.connect(url, token)
    try:
        yield
    finally:
        await room.disconnect()


def _kill_the_talking_job(stack: Stack) -> float:
    """Kill the process of the only running job; return when, in wall-clock seconds."""
    pid = stack.process("agent").pid
    if pid is None:
        raise BenchFailed("the agent worker does not run")
    # Media uses UDP, and the warm processes have no UDP sockets.
    talking = [child for child in psutil.Process(pid).children(recursive=True) if _has_media(child)]
    if len(talking) != 1:
        raise BenchFailed(f"{len(talking)} processes of the agent worker have media; one should")
    killed_at = time.time()
    talking[0].send_signal(signal.SIGKILL)
    return killed_at


def _has_media(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.net_connections(kind="udp"))
    return False
