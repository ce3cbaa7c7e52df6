"""`make audit`: what was found fails it; what could not be checked is said, and never taken for sound."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

# The locks of the tests and of the console.
NPM_LOCKS = 2

ROOT: Final = Path(__file__).parents[3]
UNREACHABLE: Final = "echo 'Failed to resolve the service' >&2; exit 1"
NOTHING_FOUND_BY_NPM: Final[dict[str, Any]] = {"vulnerabilities": {}}


def answers(**by_service: dict[str, Any]) -> str:
    """A pip-audit that answers so for each service, and can't reach the others."""
    cases = "".join(f"*--vulnerability-service\\ {name}*) cat {name}.json; exit 1;;\n" for name in by_service)
    return f'cd "$(dirname "$0")"\ncase "$*" in\n{cases}*) {UNREACHABLE};;\nesac'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def program(folder: Path, name: str, script: str, **files: dict[str, Any]) -> str:
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def audit(pip_audit: str, npm: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "requirements" / "audit.py")],
        env={**os.environ, "PIP_AUDIT": pip_audit, "NPM": npm},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


def test_services_that_cannot_be_reached_are_said_and_fail_nothing(folder: Path) -> None:
    code, said = audit(program(folder, "pip-audit", UNREACHABLE), program(folder, "npm", UNREACHABLE))
    assert code == 0
    assert "Python: 0 packages checked" in said
    assert "could not check package-lock.json: Failed to resolve the service" in said
    assert said.count("could not check") == 1 + NPM_LOCKS
    assert "VULNERABLE" not in said


def test_programs_that_are_not_there_are_said_and_fail_nothing(folder: Path) -> None:
    code, said = audit(str(folder / "none"), str(folder / "none"))
    assert code == 0
    assert said.count("could not check") == 1 + NPM_LOCKS


def test_a_vulnerability_fails_and_is_named(folder: Path) -> None:
    flawed = {"name": "redis", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["99"]}]}
    osv = {"dependencies": [flawed, {"name": "celery", "version": "2", "vulns": []}]}
    found = program(folder, "pip-audit", answers(osv=osv), osv=osv)
    code, said = audit(found, program(folder, "npm", UNREACHABLE))
    assert code == 1
    assert re.search(r"VULNERABLE redis [\d.]+: PYSEC-1, mended by 99", said)
    assert "2 packages checked" in said
    assert "could not check" in said, "the others were not in the answer of any service"


def test_a_package_that_a_service_does_not_know_was_not_checked(folder: Path) -> None:
    pypi = {"dependencies": [{"name": "redis", "skip_reason": "not found, and could not be audited"}]}
    code, said = audit(
        program(folder, "pip-audit", answers(pypi=pypi), pypi=pypi), program(folder, "npm", UNREACHABLE)
    )
    assert code == 0
    assert "Python: 0 packages checked" in said
    assert "could not check" in said


def test_what_npm_finds_fails_once_for_each_vulnerability(folder: Path) -> None:
    via = {"title": "Reads too much", "url": "https://example.com/advisories/GHSA-1"}
    vulnerabilities = {
        "left": {"range": "<1", "via": [via]},
        "right": {"range": "<2", "via": ["left"]},
    }
    npm = program(folder, "npm", "cat $(dirname $0)/n.json; exit 1", n={"vulnerabilities": vulnerabilities})
    code, said = audit(program(folder, "pip-audit", UNREACHABLE), npm)
    assert code == 1
    assert said.count("VULNERABLE") == NPM_LOCKS, "once for each lock"
    assert "VULNERABLE left <1: Reads too much" in said


@pytest.mark.parametrize("answer", ["echo '<html>'", "echo '[]'", "echo '{}'", "echo", "echo '{\"a\": 1}'"])
def test_an_answer_that_is_none_is_no_all_clear(folder: Path, answer: str) -> None:
    code, said = audit(program(folder, "pip-audit", answer), program(folder, "npm", answer))
    assert code == 0
    assert said.count("could not check") == 1 + NPM_LOCKS
    assert " 0 packages checked" in said


def test_every_lock_is_looked_at() -> None:
    sys.path.insert(0, str(ROOT / "requirements"))
    try:
        module = importlib.import_module("audit")
    finally:
        sys.path.pop(0)
    locks = {path.relative_to(ROOT) for path in module.python_locks()}
    on_disk = {
        path.relative_to(ROOT)
        for path in ROOT.glob("**/*.txt")
        if "--hash=" in path.read_text(errors="replace") and not {".venv", "node_modules"} & set(path.parts)
    }
    assert locks == on_disk
    npm = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/*/package-lock.json")}
    assert {Path(folder) for folder in module.NPM_FOLDERS} == npm


def test_every_kind_of_lock_and_image_has_its_updates() -> None:
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    looked_at = {
        (one["package-ecosystem"], folder.strip("/") or ".")
        for one in config["updates"]
        for folder in one.get("directories", [one.get("directory")])
    }
    assert config["version"] == 2
    assert looked_at == {
        ("pip", "."),
        ("pip", "requirements"),
        ("pip", "deploy/requirements"),
        ("pip", "devstack/provision"),
        ("npm", "tests/js"),
        ("npm", "services/console"),
        ("docker", "deploy"),
        ("docker", ".devcontainer"),
        ("github-actions", "."),
        ("docker-compose", "."),
    }
    for _, folder in looked_at:
        assert (ROOT / folder).is_dir()
