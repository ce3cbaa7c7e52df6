"""The console's committed files are what a build makes, and its code fits today's API."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from services.api.console.files import FOLDER

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "services/console"
MOST_BYTES_AT_FIRST: Final = 200_000


def npm(*arguments: str, folder: Path, **env: str) -> None:
    run = subprocess.run(
        ["npm", "run", "--silent", *arguments],
        cwd=folder,
        env={**os.environ, "CI": "true", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, f"npm run {' '.join(arguments)}\n{run.stdout}\n{run.stderr}"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source beside nothing else, so that tests write into no checkout."""
    folder = tmp_path_factory.mktemp("console") / "services/console"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "schema.d.ts"))
    (folder / "node_modules").symlink_to(SOURCE / "node_modules")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_build_makes_the_committed_files(copy: Path) -> None:
    npm("build", folder=copy)
    built, committed = files_in(copy.parent / "api/console/built"), files_in(FOLDER)
    assert sorted(built) == sorted(committed), "`make console` builds them anew"
    different = [name for name in built if built[name] != committed[name]]
    assert not different, "`make console` builds them anew"


def test_the_code_fits_todays_api(copy: Path, tmp_path: Path) -> None:
    openapi = tmp_path / "openapi.json"
    subprocess.run([sys.executable, "-m", "tools.openapi", str(openapi)], cwd=ROOT, check=True)
    npm("types", folder=copy, OPENAPI=str(openapi))
    npm("check", folder=copy)


def test_the_code_without_a_page_does_what_it_says(copy: Path) -> None:
    npm("test", folder=copy)


def test_the_first_page_is_small() -> None:
    """The limit holds for the index, what it names, and the two largest files that a page loads.

    LiveKit's client is no such file: it comes with the first call.
    """
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = [name.removeprefix("/console/") for name in re.findall(r'(?:src|href)="([^"]+)"', page)]
    size = {path: len(gzip.compress(body)) for path, body in files_in(FOLDER).items()}
    others = sorted(
        size[path]
        for path in size
        if path.startswith("assets/") and path not in named and not path.startswith("assets/livekit-client")
    )
    first = size["index.html"] + sum(size[name] for name in named)
    assert first + sum(others[-2:]) <= MOST_BYTES_AT_FIRST, (first, others)
