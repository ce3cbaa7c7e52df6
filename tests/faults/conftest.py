"""The run's scoreboard, printed at its end. A run with a count other than 0 has failed."""

import os
import pickle
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.spoken import TranscriptBoard

BOARD = pytest.StashKey[Scoreboard]()
TRANSCRIPTS = pytest.StashKey[TranscriptBoard]()
# Not the exit code of failed tests: `tests.stages` repeats those, and the counts would be lost.
PROMISE_BROKEN = 10
_BOARDS = "rollcall_boards"
CONTROL_PLANE = ("api", "dispatcher", "verifier")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOARD] = Scoreboard()
    config.stash[TRANSCRIPTS] = TranscriptBoard()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the results of an xdist worker to the run's, when the worker ends."""
    if _BOARDS not in getattr(node, "workeroutput", {}):
        node.config.stash[BOARD].unheard += 1
        return
    board, transcripts = pickle.loads(node.workeroutput[_BOARDS])
    node.config.stash[BOARD].take_in(board)
    node.config.stash[TRANSCRIPTS].rows += transcripts.rows


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    if stash[BOARD].broken_promises:
        session.exitstatus = PROMISE_BROKEN
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_BOARDS] = pickle.dumps((stash[BOARD], stash[TRANSCRIPTS]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    width = max(140, terminalreporter._tw.fullwidth)
    console = Console(file=terminalreporter._tw._file, width=width, highlight=False)
    board = config.stash[BOARD]
    if board.sessions:
        terminalreporter.write_sep("=", "faults")
        board.print(console)
    transcripts = config.stash[TRANSCRIPTS]
    if transcripts.rows:
        terminalreporter.write_sep("=", "transcripts")
        transcripts.print(console)


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Scoreboard:
    """The results of this run."""
    return request.config.stash[BOARD]


@pytest.fixture(scope="session")
def transcript_board(request: pytest.FixtureRequest) -> TranscriptBoard:
    """The results of this run about transcripts."""
    return request.config.stash[TRANSCRIPTS]


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
    """A control plane with inference, for workers of ours that the tests start themselves."""
    state = tmp_path_factory.mktemp("agents")
    services = [*CONTROL_PLANE, "inference"]
    async with Stack(state, env=clean_environment(), services=services) as stack:
        yield stack


@pytest_asyncio.fixture
async def rollcall(control_plane: Stack) -> AsyncIterator[Rollcall]:
    """The API of the shared control plane."""
    client = Rollcall(control_plane)
    yield client
    await client.close()
