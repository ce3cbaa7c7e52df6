"""Look for known vulnerabilities in every lock, of Python and of npm: `make audit`.

Exits with code 1 if it finds one that isn't in `ACCEPTED`. Packages that could not be checked, because a
service can't be reached or doesn't know them, are named and fail nothing: that says nothing about the lock.
The services are those of pip-audit (OSV, then PyPI's own) and of npm.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
ENVIRONMENT: Final = ROOT / ".rollcall" / "audit"
LOCK: Final = ROOT / "requirements" / "audit.txt"
LIMIT_S: Final = 300.0
MOST_LINES: Final = 5
NPM_FOLDERS: Final = ("tests/js", "services/console")

SERVICES: Final = ("osv", "pypi")
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)

# A vulnerability's id, and why it is harmless here. Remove an entry when its package is updated.
ACCEPTED: Final[Mapping[str, str]] = {}


@dataclass
class Outcome:
    """The checked packages, the vulnerabilities, and unchecked packages with the reason."""

    checked: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    unchecked: dict[str, str] = field(default_factory=dict)


def main() -> int:
    """Check every lock, and print the result."""
    outcomes = {"Python": check_python(python_locks())}
    for folder in NPM_FOLDERS:
        outcomes[f"npm, {folder}"] = check_npm(ROOT / folder)
    for name, outcome in outcomes.items():
        print(f"{name}: {len(outcome.checked)} packages checked, {len(outcome.found)} vulnerabilities")
        for vulnerability in sorted(outcome.found):
            print(f"  VULNERABLE {vulnerability}")
        for line in _summed_up(outcome.unchecked):
            print(f"  could not check {line}")
    return 1 if any(outcome.found for outcome in outcomes.values()) else 0


def _summed_up(unchecked: Mapping[str, str]) -> list[str]:
    names = sorted(unchecked)
    if len(names) <= MOST_LINES:
        return [f"{name}: {unchecked[name]}" for name in names]
    shown = ", ".join(names[:MOST_LINES])
    return [f"{len(names)} packages ({shown}, …). Of the first: {unchecked[names[0]]}"]


def python_locks() -> list[Path]:
    """Return every lock of Python packages."""
    folders = ("requirements", "deploy/requirements", "devstack/provision")
    return sorted(lock for folder in folders for lock in (ROOT / folder).glob("*.txt"))


def check_python(locks: Sequence[Path]) -> Outcome:
    """Ask one service after the other, until every package has an answer."""
    outcome = Outcome()
    try:
        program = pip_audit()
    except (OSError, subprocess.SubprocessError) as error:
        outcome.unchecked["the locks"] = f"pip-audit can't be installed: {_last_line(error)}"
        return outcome
    for pins in pinned(locks):
        left = dict(pins)
        for service in SERVICES:
            left = _ask(program, service, left, outcome)
    return outcome


def pinned(locks: Sequence[Path]) -> list[dict[str, str]]:
    """Return the packages of all locks.

    There are several lists if locks have several versions of a package.
    """
    versions: dict[str, set[str]] = defaultdict(set)
    for lock in locks:
        for name, version in _PIN.findall(lock.read_text(encoding="utf-8")):
            versions[name].add(version)
    rounds = max(map(len, versions.values()), default=0)
    ordered = {name: sorted(of_package) for name, of_package in versions.items()}
    return [
        {name: of_package[turn] for name, of_package in ordered.items() if turn < len(of_package)}
        for turn in range(rounds)
    ]


def _ask(program: str, service: str, pins: Mapping[str, str], outcome: Outcome) -> dict[str, str]:
    """Record a service's answers about these packages; return those without an answer."""
    if not pins:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
        options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10", "--desc", "off"]
        source = ["--disable-pip", "--no-deps", "-r", str(file)]
        answer, why = _json_of([program, "--vulnerability-service", service, *options, *source])
    if answer is None or not isinstance(answer.get("dependencies"), list):
        answer, why = {"dependencies": []}, why or "it answered something else"
    told = {one["name"]: one for one in answer["dependencies"]}
    for name, version in pins.items():
        _note(outcome, f"{name} {version}", told.get(name, {"skip_reason": f"{service}: {why}"}))
    return {name: version for name, version in pins.items() if f"{name} {version}" in outcome.unchecked}


def _note(outcome: Outcome, package: str, told: Mapping[str, Any]) -> None:
    if "vulns" not in told:
        outcome.unchecked[package] = str(told.get("skip_reason"))
        return
    outcome.unchecked.pop(package, None)
    outcome.checked.add(package)
    for vulnerability in told["vulns"]:
        names = {vulnerability["id"], *vulnerability.get("aliases", [])}
        if names.isdisjoint(ACCEPTED):
            mended = ", ".join(vulnerability.get("fix_versions", [])) or "nothing yet"
            outcome.found.add(f"{package}: {vulnerability['id']}, mended by {mended}")


def check_npm(folder: Path) -> Outcome:
    """Ask npm's registry."""
    outcome = Outcome()
    npm = os.environ.get("NPM", "npm")
    answer, why = _json_of([npm, "audit", "--package-lock-only", "--json"], cwd=folder)
    if answer is None or "vulnerabilities" not in answer:
        outcome.unchecked["package-lock.json"] = str((answer or {}).get("message") or why or "no answer")
        return outcome
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    outcome.checked = {name.rpartition("node_modules/")[2] for name in lock["packages"] if name}
    outcome.found = {text for text, ids in _npm_findings(answer) if ids.isdisjoint(ACCEPTED)}
    return outcome


def _npm_findings(answer: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    for name, one in answer["vulnerabilities"].items():
        for via in one["via"]:
            if isinstance(via, dict):  # a plain text names another package of this list
                yield f"{name} {one['range']}: {via['title']}, {via['url']}", {via["url"].rpartition("/")[2]}


def pip_audit() -> str:
    """Return the program; install it from its lock, in an environment of its own, if it is missing."""
    if given := os.environ.get("PIP_AUDIT"):
        return given
    program, stamp = ENVIRONMENT / "bin" / "pip-audit", ENVIRONMENT / "locked"
    wanted = LOCK.read_text(encoding="utf-8")
    if not (program.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        uv = str(ROOT / ".venv" / "bin" / "uv")
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)])
        python = str(ENVIRONMENT / "bin" / "python")
        _run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(LOCK)])
        stamp.write_text(wanted, encoding="utf-8")
    return str(program)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)


def _json_of(command: Sequence[str], cwd: Path = ROOT) -> tuple[dict[str, Any] | None, str]:
    """Return a program's JSON output, whatever its exit code; or None and the reason."""
    try:
        ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        answer = json.loads(ended.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        return None, _last_line(error)
    except ValueError:
        return None, (ended.stderr.strip().splitlines() or ["it answered nothing"])[-1]
    return (answer, "") if isinstance(answer, dict) else (None, "it answered something else")


def _last_line(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    return (str(told).strip().splitlines() or [repr(error)])[-1]


if __name__ == "__main__":
    sys.exit(main())
