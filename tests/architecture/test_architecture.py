"""The rules of the repository that no linter knows."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import services
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.settings import Settings

ROOT = Path(__file__).parents[2]
SERVICES = sorted(module.name for module in pkgutil.iter_modules(services.__path__) if module.ispkg)
CELERY_SERVICES = {"dispatcher", "verifier"}

# Modules of shared/ that fewer than two services use, each with the reason why it is there.
USED_BY_FEWER = {
    "shared.core.migrate": "a program of its own; the API asks it whether the schema is up to date",
    "shared.platform.redis.dead_letters": "the API and the command line put them back alike",
    "shared.runtime.migrate": "the program's old address",
}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("services", "rollcall_agent", "shared", cache_dir=None)


def shared_modules() -> list[str]:
    files = [p for p in (ROOT / "shared").rglob("*.py") if "migrations" not in p.parts]
    return sorted(
        ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files if p.name != "__init__.py"
    )


def users_of(module: str, imports: grimp.ImportGraph) -> set[str]:
    """Return the services that import the module, directly or through other modules of shared/."""
    return {
        user.split(".")[1] for user in imports.find_downstream_modules(module) if user.startswith("services.")
    }


@pytest.mark.parametrize("module", shared_modules())
def test_a_shared_module_is_used_by_at_least_two_services(module: str, imports: grimp.ImportGraph) -> None:
    users = users_of(module, imports)
    if module in USED_BY_FEWER:
        assert len(users) < 2, f"{module} is used by {sorted(users)}: it needs no exception any more"
    else:
        assert len(users) >= 2, f"only {sorted(users)} use {module}: move it there"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_laid_out_as_all_others_are(service: str) -> None:
    folder = ROOT / "services" / service
    files = {file.name for file in folder.iterdir()}
    wanted = {"__init__.py", "__main__.py", "bootstrap.py", "settings.py", "metrics.py"}
    if service in CELERY_SERVICES:
        wanted |= {"celery_app.py", "ports.py"}
    assert wanted <= files, f"missing: {sorted(wanted - files)}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_what_comes_in_and_what_goes_out(service: str) -> None:
    said = importlib.import_module(f"services.{service}").__doc__ or ""
    assert re.search(r"\bin: ", said, re.IGNORECASE), (
        f"services/{service}/__init__.py does not say what comes in"
    )
    assert re.search(r"\bout: ", said, re.IGNORECASE), (
        f"services/{service}/__init__.py does not say what goes out"
    )


def test_the_contracts_of_the_imports_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_package_does_no_io() -> None:
    forbidden = re.compile(r"^\s*(?:import|from) (urllib\.parse|\w+)", re.MULTILINE)
    for file in (ROOT / "shared" / "contracts").glob("*.py"):
        imported = set(forbidden.findall(file.read_text()))
        known = {
            "base64",
            "collections",
            "dataclasses",
            "datetime",
            "enum",
            "ipaddress",
            "json",
            "pydantic",
            "pydantic_settings",
            "re",
            "shared",
            "typing",
            "urllib.parse",
            "uuid_utils",
            "zlib",
        }
        assert imported <= known, f"{file.name} imports {sorted(imported - known)}"


def test_every_cause_tells_the_operator_what_to_do() -> None:
    assert set(ADVICE) == set(Cause)
    assert all(len(advice) > 10 for advice in ADVICE.values())


# Variables that only the command line reads, which has no settings class.
OF_THE_COMMAND_LINE = {"LIVEKIT_SERVER", "ROLLCALL_URL", "ROLLCALL_API_KEY"}


def settings_classes() -> set[type[Settings]]:
    found = set()
    for service in SERVICES:
        module = importlib.import_module(f"services.{service}.settings")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, Settings) and member.__module__ == module.__name__:
                found.add(member)
    return found


def test_every_service_has_a_settings_class() -> None:
    assert {cls.__module__.split(".")[1] for cls in settings_classes()} == set(SERVICES)


def test_the_example_file_names_every_variable_and_nothing_else() -> None:
    example = ROOT / ".env.example"
    assert example.exists(), "there is no .env.example"
    variables = {name.upper() for cls in settings_classes() for name in cls.model_fields}
    variables |= OF_THE_COMMAND_LINE
    named = set(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", example.read_text(), re.MULTILINE))
    assert named - variables == set(), "no service reads these"
    assert variables - named == set(), "these are not mentioned"


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def lock_files() -> list[Path]:
    return [lock for lock in tracked("*.txt") if "--hash=" in lock.read_text()]


def test_there_are_locks() -> None:
    assert {file.name for file in lock_files()} >= {"dev.txt", "runtime.txt"}


@pytest.mark.parametrize("lock", lock_files(), ids=lambda file: file.name)
def test_a_lock_names_no_registry_and_no_path_of_one_machine(lock: Path) -> None:
    text = lock.read_text()
    assert not re.findall(r"https?://\S+", text)
    assert not re.findall(r"--(?:extra-)?index-url|--find-links|--trusted-host", text)
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt)/\S*", text)


@pytest.mark.parametrize("lock", lock_files(), ids=lambda file: file.name)
def test_a_lock_pins_every_package_with_its_hashes(lock: Path) -> None:
    logical = re.sub(r"\\\n", " ", lock.read_text())
    lines = [line.split("#")[0].strip() for line in logical.splitlines()]
    for line in filter(None, lines):
        assert re.match(r"^[A-Za-z0-9._-]+(\[[\w,-]+\])?==\S+", line), line
        assert "--hash=sha256:" in line, line


def test_no_tracked_text_holds_a_path_of_one_machine() -> None:
    suspicious = re.compile(r"(?<![\w.{}/])/(?:home|root|work|Users)/[\w.-]+")
    found = [
        f"{file.relative_to(ROOT)}: {match}"
        for file in tracked("*.py", "*.toml", "*.sh", "*.yaml", "*.yml", "Makefile", "Dockerfile*")
        if file != Path(__file__)
        for match in suspicious.findall(file.read_text(errors="ignore"))
    ]
    assert found == []
