"""What fault tests share: the counts of the run, its length and its chances, and stacks of several files."""

import os
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.faults.counting import (
    board,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
    transcript_board,
)
from tests.stack_fixtures.stacks import LONG_LIMITS, TIME_TO_RESTART
from tests.support.gate import Gate, open_gate
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.workers import foreign_worker

__all__ = [
    "board",
    "pytest_configure",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "transcript_board",
]

CONTROL_PLANE = ("api", "dispatcher", "verifier")


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether to run everything at full length, as `make test-faults FULL=1` does."""
    return bool(os.environ.get("FULL"))


@pytest.fixture
def dice(request: pytest.FixtureRequest, board: Scoreboard) -> random.Random:
    """A random generator whose seed is printed; SEED in the environment repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    board.seeds.append((request.node.name, seed))
    return random.Random(seed)


@pytest_asyncio.fixture(scope="session")
async def control_plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Servers, API, dispatcher and verifier, shared by tests that repair what they break."""
    state = tmp_path_factory.mktemp("control-plane")
    async with Stack(state, env=clean_environment(), services=CONTROL_PLANE) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session")
async def agent_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A control plane with inference, for workers of ours that the tests start themselves.

    Two sessions of a pool are enough to judge it.
    """
    state = tmp_path_factory.mktemp("agents")
    services = [*CONTROL_PLANE, "inference", "transcripts"]
    env = clean_environment({**LONG_LIMITS, "TRAFFIC_MIN_SESSIONS": "2"})
    async with Stack(state, env=env, services=services) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session")
async def placing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A control plane whose LiveKit server is restarted."""
    state = tmp_path_factory.mktemp("placing")
    async with Stack(state, env=clean_environment(), services=[*CONTROL_PLANE, "inference"]) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session")
async def joiner(control_plane: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The agent name of a running worker of the control plane, which knows nothing of us.

    It is shared by all tests that break neither it nor LiveKit: a worker takes seconds to start.
    """
    log = tmp_path_factory.mktemp("joiner") / "worker.log"
    async with foreign_worker(control_plane, agent_name="joiner", log=log):
        yield "joiner"


@pytest_asyncio.fixture(scope="session")
async def gate() -> AsyncIterator[Gate]:
    """The way of `doubled` to LiveKit, which a test can spoil."""
    async with open_gate() as gate:
        yield gate


@pytest_asyncio.fixture(scope="session")
async def doubled(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two dispatchers and two verifiers, all of which reach LiveKit through the gate; and a joiner."""
    state = tmp_path_factory.mktemp("doubled")
    through_the_gate = {"LIVEKIT_URL": gate.url}
    async with (
        Stack(
            state,
            env=clean_environment(TIME_TO_RESTART),
            services=CONTROL_PLANE,
            replicas={"dispatcher": 2, "verifier": 2},
            service_env={"dispatcher": through_the_gate, "verifier": through_the_gate},
        ) as stack,
        foreign_worker(stack, agent_name="joiner", log=state / "joiner.log"),
    ):
        gate.upstream = stack.livekit_url
        yield stack


@pytest_asyncio.fixture
async def rollcall(control_plane: Stack) -> AsyncIterator[Rollcall]:
    """The API of the shared control plane."""
    client = Rollcall(control_plane)
    yield client
    await client.close()
