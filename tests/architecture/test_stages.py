"""`make test` runs failed tests once more, alone: those that then pass are listed, all others fail."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.stack_fixtures.sharing import scope_of

ROOT: Final = Path(__file__).parents[2]
# Without the variables that this run of pytest sets for its own tests and workers.
BARE_ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}

PASSES: Final = "def test_passes(): pass\n"
# Each run of the test appends a character to its file.
FAILS_ONCE: Final = """
from pathlib import Path
def test_shaken():
    with Path("runs").open("a+") as runs:
        runs.write(".")
    assert Path("runs").read_text() == ".."
"""
# Ends once the other test has begun, which is in a stage of its own.
MEETS: Final = """
import time
from pathlib import Path
def test_meets():
    Path("{mine}.met").touch()
    while not Path("{other}.met").exists():
        time.sleep(0.05)
"""
FAILS: Final = "def test_broken(): assert False\n"
SIX_FAIL: Final = "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_broken(n): assert False\n"
NO_PYTHON: Final = "def test_cut_off(:\n"


class Project:
    """A folder with tests, and the result of running its stages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p xdist.plugin\n")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self._folder / f"test_{name}.py").write_text(text)

    def write_conftest(self, text: str) -> None:
        (self._folder / "conftest.py").write_text(text)

    def run_last_failed(self) -> str:
        """Return what `pytest --last-failed` prints."""
        return self._run("-m", "pytest", "--last-failed")[1]

    def run(self, *stages: str) -> tuple[int, str]:
        """Return the exit code, and everything that was printed."""
        return self._run(str(ROOT / "tests" / "stages.py"), *stages)

    def _run(self, *arguments: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            # Other plugins take seconds to load.
            env={**BARE_ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout

    @property
    def unsteady(self) -> list[str]:
        """The tests that .rollcall/unsteady.txt names."""
        file = self._folder / ".rollcall" / "unsteady.txt"
        return [line.split()[1] for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("workers", ["", "--numprocesses 2 --dist loadfile "])
def test_a_test_that_passes_alone_passes_and_is_listed(project: Project, workers: str) -> None:
    project.write(shaken=FAILS_ONCE, sound=PASSES)
    code, printed = project.run(f"{workers}test_shaken.py test_sound.py", "test_sound.py")
    assert code == 0
    assert project.unsteady == ["test_shaken.py::test_shaken"]
    listed = printed.partition("failed once beside others, passed alone:")[2]
    assert "test_shaken.py::test_shaken" in listed, "the list comes last"
    assert printed.count("= 1 passed") == 2, "only the failed test was run again"


def test_a_test_that_fails_twice_fails_and_ends_the_run(project: Project) -> None:
    project.write(broken=FAILS, sound=PASSES)
    code, printed = project.run("--in-turn", "test_broken.py", "test_sound.py")
    assert code == 1
    assert printed.count("1 failed") >= 2
    assert "1 passed" not in printed
    assert project.unsteady == []


def test_stages_run_at_the_same_time_and_each_is_shown(project: Project) -> None:
    project.write(one=MEETS.format(mine="one", other="two"), two=MEETS.format(mine="two", other="one"))
    code, printed = project.run("test_one.py", "test_two.py")
    assert code == 0
    assert printed.count("= 1 passed") == 2


def test_what_failed_in_any_stage_is_known_to_last_failed(project: Project) -> None:
    project.write(broken=FAILS, sound=PASSES)
    project.run("test_broken.py", "test_sound.py")
    assert "run-last-failure: rerun previous 1 failure" in project.run_last_failed()


def test_a_stage_that_fails_still_lists_what_passed_alone_before(project: Project) -> None:
    project.write(shaken=FAILS_ONCE, broken=FAILS)
    code, printed = project.run("test_shaken.py", "test_broken.py")
    assert code == 1
    assert "failed once beside others, passed alone:" in printed
    assert project.unsteady == ["test_shaken.py::test_shaken"]


def test_six_tests_that_fail_are_not_run_again(project: Project) -> None:
    project.write(broken=SIX_FAIL)
    code, printed = project.run("test_broken.py")
    assert code == 1
    assert printed.count("6 failed") == 1


@pytest.mark.parametrize("workers", ["", "--numprocesses 2 "])
def test_a_file_that_cannot_be_collected_fails_at_once(project: Project, workers: str) -> None:
    project.write(cut_off=NO_PYTHON, sound=PASSES)
    code, printed = project.run(f"{workers}test_cut_off.py test_sound.py")
    assert code != 0
    assert "once more" not in printed


def test_a_run_that_fails_without_a_failed_test_is_not_run_again(project: Project) -> None:
    project.write(shaken=FAILS_ONCE, sound=PASSES)
    project.run("test_shaken.py")  # results of an earlier run must not count
    project.write_conftest("def pytest_sessionfinish(session): session.exitstatus = 1\n")
    code, printed = project.run("test_sound.py")
    assert code == 1
    assert "once more" not in printed


WITH_SCOREBOARD: Final = """
from tests.faults.counting import (
    board, pytest_configure, pytest_sessionfinish, pytest_terminal_summary, pytest_testnodedown
)
"""
COUNTS_TWO_AGENTS: Final = """
def test_sound(board):
    board.sessions += 1
    board.double_agents += 1
"""


@pytest.mark.parametrize("workers", ["", "--numprocesses 2 --dist loadfile "])
def test_what_the_fault_tests_counted_is_not_run_again(project: Project, workers: str) -> None:
    project.write_conftest(WITH_SCOREBOARD)
    project.write(one=COUNTS_TWO_AGENTS, other=COUNTS_TWO_AGENTS, shaken=FAILS_ONCE)
    code, printed = project.run(f"{workers}test_one.py test_other.py test_shaken.py")
    assert code not in (0, 1)
    assert "2 sessions: 2 double agents" in printed, "whatever process they ran in"
    assert "once more" not in printed


def test_tests_that_share_a_stack_stay_in_one_process() -> None:
    end_to_end = {scope_of(f"tests/e2e/test_{name}.py::test_it[{name}]") for name in ("join", "end")}
    assert len(end_to_end) == 1
    others = {scope_of(f"tests/faults/test_{name}.py::test_it") for name in ("queue", "revive", "broker")}
    assert len(others) == 3


@pytest.mark.parametrize("fixture", ["control_plane", "agent_stack", "doubled"])
def test_all_files_that_name_a_shared_stack_stay_in_its_process(fixture: str) -> None:
    files = [file for file in (ROOT / "tests" / "faults").glob("test_*.py") if fixture in file.read_text()]
    assert files
    assert {scope_of(str(file.relative_to(ROOT))) for file in files} == {fixture}
