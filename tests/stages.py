"""Runs pytest stage by stage, as `make test` does, and runs the few tests that failed once more, alone.

    python -m tests.stages "--numprocesses 3 tests/unit" "tests/e2e"

Each argument is one stage: the arguments of one run of pytest. A stage whose failed tests pass alone has
passed; these tests are listed at the end, and in .rollcall/unsteady.txt (docs/adr/0036).
"""

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

# So few failures may come from a stalled machine. More mean a fault, and repeating them would only take time.
MOST: Final = 5
TESTS_FAILED: Final = 1  # pytest's exit code; any other one means that the run itself failed
LAST_FAILED: Final = Path(".pytest_cache/v/cache/lastfailed")
UNSTEADY: Final = Path(".rollcall/unsteady.txt")
# Without xdist: one test after another, with no other test at the same time.
ALONE: Final = ("--last-failed", "--numprocesses", "0")


def main(stages: list[str]) -> int:
    """Run the stages up to the first that fails; return its exit code, or 0."""
    unsteady: list[str] = []
    code = 0
    for stage in stages:
        code, shaken = run_stage(shlex.split(stage))
        unsteady += shaken
        if code:
            break
    report(unsteady)
    return code


def run_stage(arguments: list[str]) -> tuple[int, list[str]]:
    """Run a stage; return its exit code, and the ids of the tests that failed once and passed alone."""
    code = pytest("--cache-clear", *arguments)
    failed = last_failed()
    if code != TESTS_FAILED or not may_be_shaken(failed):
        return code, []
    say(f"{len(failed)} failed; once more, alone: {', '.join(failed)}")
    code = pytest(*arguments, *ALONE)
    return code, [] if code else failed


def pytest(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def last_failed() -> list[str]:
    """Return the ids of the last run's failures, including files that could not be collected."""
    return sorted(json.loads(LAST_FAILED.read_text(encoding="utf-8"))) if LAST_FAILED.exists() else []


def may_be_shaken(failed: list[str]) -> bool:
    """Return whether only few tests failed and all files were collected; xdist exits with 1 in both cases."""
    return 0 < len(failed) <= MOST and all("::" in failure for failure in failed)


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
