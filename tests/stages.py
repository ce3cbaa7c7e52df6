"""Runs pytest in stages, as `make test` does, and runs the few tests that failed once more, alone.

    python -m tests.stages "--numprocesses 3 tests/unit" "tests/e2e"

Each argument is one stage: the arguments of one run of pytest. With `--in-turn` before them, each stage waits
for the one before it, and runs by itself. Otherwise all stages run at the same time: the last one has the
terminal, and the others have a lower priority, and their output is shown once they have ended.

A stage whose failed tests pass alone has passed; these tests are listed at the end, and in
.rollcall/unsteady.txt (docs/adr/0036).
"""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

# So few failures may come from a stalled machine. More mean a fault, and repeating them would only take time.
MOST: Final = 5
TESTS_FAILED: Final = 1  # pytest's exit code; any other one means that the run itself failed
IN_TURN: Final = "--in-turn"
CACHE: Final = Path(".pytest_cache")
UNSTEADY: Final = Path(".rollcall/unsteady.txt")
# Without xdist: one test after another, with no other test at the same time.
ALONE: Final = ("--last-failed", "--numprocesses", "0")
# Gives way to the last stage, whose tests start stacks and wait for time limits; but has time limits, too.
GIVING_WAY: Final = ("nice", "-n", "5")


@dataclass(frozen=True)
class Stage:
    """A run of pytest with a cache of its own: two runs that share one would lose what the other wrote."""

    arguments: tuple[str, ...]
    number: int

    @property
    def cache(self) -> Path:
        """The folder of pytest's cache."""
        return CACHE / f"stage-{self.number}"

    @property
    def output(self) -> Path:
        """The file that has the output if the stage has no terminal."""
        return self.cache / "output.txt"

    def command(self, *more: str) -> list[str]:
        """Return the command that runs the stage, with more arguments."""
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={self.cache}"]
        return [*pytest, *self.arguments, *more]

    def last_failed(self) -> list[str]:
        """Return the ids of the last run's failures, including files that could not be collected."""
        file = self.cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def main(arguments: list[str]) -> int:
    """Run the stages; return the exit code of the first one that failed, or 0."""
    in_turn = arguments[:1] == [IN_TURN]
    given = arguments[1:] if in_turn else arguments
    stages = [Stage(tuple(shlex.split(each)), number) for number, each in enumerate(given, start=1)]
    groups = [[stage] for stage in stages] if in_turn else [stages]
    unsteady: list[str] = []
    code = 0
    for group in groups:
        # Alone: only once nothing else runs.
        for stage, ended in zip(group, run_at_once(group), strict=True):
            final, shaken = settle(stage, ended)
            unsteady += shaken
            code = code or final
        if code:
            break
    keep_for_last_failed(stages)
    report(unsteady)
    return code


def run_at_once(stages: list[Stage]) -> list[int]:
    """Run stages at the same time; return their exit codes."""
    *others, last = stages
    for stage in stages:
        stage.cache.mkdir(parents=True, exist_ok=True)
    started = [start_giving_way(stage) for stage in others]
    ended = run(last, "--cache-clear")
    codes = [process.wait() for process in started]
    for stage in others:
        say(" ".join(stage.arguments))
        print(stage.output.read_text(encoding="utf-8", errors="replace"), flush=True)
    return [*codes, ended]


def start_giving_way(stage: Stage) -> "subprocess.Popen[bytes]":
    command = [*GIVING_WAY, *stage.command("--cache-clear")]
    with stage.output.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def run(stage: Stage, *more: str) -> int:
    return subprocess.run(stage.command(*more), check=False).returncode


def settle(stage: Stage, code: int) -> tuple[int, list[str]]:
    """Return the stage's final exit code, and the ids of the tests that failed once and passed alone."""
    failed = stage.last_failed()
    if code != TESTS_FAILED or not may_be_shaken(failed):
        return code, []
    say(f"{len(failed)} failed; once more, alone: {', '.join(failed)}")
    code = run(stage, *ALONE)
    return code, [] if code else failed


def may_be_shaken(failed: list[str]) -> bool:
    """Return whether only few tests failed and all files were collected; xdist exits with 1 in both cases."""
    return 0 < len(failed) <= MOST and all("::" in failure for failure in failed)


def keep_for_last_failed(stages: list[Stage]) -> None:
    """Write what failed at last to pytest's own cache, for `make test ARGS=--lf`."""
    failed = dict.fromkeys((test for stage in stages for test in stage.last_failed()), True)
    file = CACHE / "v" / "cache" / "lastfailed"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(failed, indent=2), encoding="utf-8")


def report(unsteady: list[str]) -> None:
    """Name the unsteady tests on the terminal, and add a line for each to the file."""
    if not unsteady:
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    UNSTEADY.parent.mkdir(exist_ok=True)
    with UNSTEADY.open("a", encoding="utf-8") as file:
        file.writelines(f"{now} {test}\n" for test in unsteady)
    say("failed once beside others, passed alone:")
    for test in unsteady:
        say(f"  {test}")
    say(f"a race looks like this, too: see {UNSTEADY}")


def say(line: str) -> None:
    # Pytest writes to the same terminal or file.
    print(f"\033[1;33mtests: {line}\033[0m", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
