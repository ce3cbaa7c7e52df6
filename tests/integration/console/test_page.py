"""How the console's built files are served."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.api.console.files import FOLDER
from tests.integration.api_client import api_settings, assert_problem, in_process

ASSETS = sorted(path.relative_to(FOLDER).as_posix() for path in (FOLDER / "assets").iterdir())


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    # The page needs neither a key nor a database.
    nowhere = f"sqlite+aiosqlite:///{tmp_path / 'none.db'}"
    async with in_process(api_settings(nowhere, redis_url, api_auth="keys")) as client:
        yield client


async def test_every_path_of_the_console_is_its_page(client: httpx.AsyncClient) -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    for path in ("/console/", "/console/sessions/0198", "/console/index.html"):
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (200, page), path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
    moved = await client.get("/console")
    assert (moved.status_code, moved.headers["location"]) == (308, "/console/")


async def test_files_named_by_their_content_are_kept_for_ever(client: httpx.AsyncClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css"}
    for path in ASSETS:
        answer = await client.get(f"/console/{path}", headers={"Accept-Encoding": "gzip"})
        assert answer.content == (FOLDER / path).read_bytes()
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith(types["." + path.rpartition(".")[2]])


async def test_a_missing_file_is_not_the_page(client: httpx.AsyncClient) -> None:
    for path in ("assets/index-old.js", "assets/"):
        assert_problem(await client.get(f"/console/{path}"), 404, "not_found")
    # Nothing but the built files is reachable, however the path is spelled.
    for path in ("..%2f..%2froutes.py", "%2e%2e/routes.py", "assets/%2e%2e/%2e%2e/routes.py"):
        answer = await client.get(f"/console/{path}")
        assert "APIRouter" not in answer.text, path


async def test_the_page_runs_only_its_own_scripts_and_in_no_frame(client: httpx.AsyncClient) -> None:
    for path in ("", "theme.js", ASSETS[0]):
        headers = (await client.get(f"/console/{path}")).headers
        policy = headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"


async def test_a_file_that_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/console/")
    again = await client.get("/console/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head("/console/")
    assert (head.status_code, head.content) == (200, b"")


async def test_who_takes_no_compression_gets_none(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/console/{ASSETS[0]}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(gzip.compress(answer.content)) < len(answer.content)
