"""The run's scoreboard, printed at its end; a run in which a count is not 0 has failed.

Apart from conftest.py, so that tests of it need not load what stacks need.
"""

import pickle
from typing import Any

import pytest
from rich.console import Console

from tests.support.scoreboard import Scoreboard
from tests.support.spoken import TranscriptBoard

BOARD = pytest.StashKey[Scoreboard]()
TRANSCRIPTS = pytest.StashKey[TranscriptBoard]()
# Not the exit code of failed tests: `tests.stages` repeats those, and the counts would be lost.
PROMISE_BROKEN = 10
_BOARDS = "rollcall_boards"


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
