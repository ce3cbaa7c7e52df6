"""What HTTP clients may expect: HEAD on every GET, and CORS for pages whose SDKs send their own headers."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import ValidationError

from services.api.app import create_app
from services.api.errors.problems import TRACE_HEADER
from services.api.http.accept import preferred
from shared.contracts.identifiers import new_id
from tests.integration.api_client import api_settings, served, start

PAGE = "https://app.example.com"
NO_DATABASE = "sqlite+aiosqlite:///:memory:"


@pytest.fixture
async def browsed(sqlite_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An API for pages, over a real socket."""
    async with served(api_settings(sqlite_url, redis_url, cors_allowed_origins=[f"{PAGE}/"])) as client:
        yield client


def paths_of_gets() -> list[str]:
    app = create_app(api_settings(NO_DATABASE, "redis://127.0.0.1:9"))
    schema = app.openapi()["paths"]
    return sorted(path for path, methods in schema.items() if "get" in methods)


@pytest.mark.parametrize("path", paths_of_gets())
async def test_head_is_answered_as_get_without_a_body(browsed: httpx.AsyncClient, path: str) -> None:
    url = path.replace("{code}", "not_found")
    url = url.replace("{session_id}", (await start(browsed))["session_id"]) if "{session_id}" in url else url
    url = url.replace("{", "").replace("}", "")
    asked = {"q": "hello"} if path.endswith("/search") else {}
    got = await browsed.get(url, params=asked)
    head = await browsed.head(url, params=asked)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_of_a_stream_ends(browsed: httpx.AsyncClient) -> None:
    session_id = (await start(browsed))["session_id"]
    stream = {"Accept": "Text/Event-Stream"}
    head = await browsed.head(f"/v1/sessions/{session_id}/events", headers=stream)
    assert (head.status_code, head.content) == (200, b"")
    assert preferred(head.headers["content-type"])[0] == "text/event-stream"


async def test_head_where_there_is_no_get_is_refused(browsed: httpx.AsyncClient) -> None:
    head = await browsed.head("/v1/token")
    assert (head.status_code, head.content) == (405, b"")
    assert head.headers["allow"] == "POST"
    assert (await browsed.head(f"/v1/sessions/{new_id()}")).status_code == 404


@pytest.mark.parametrize(
    "header", ["X-Sandbox-ID", "traceparent", "tracestate", "baggage", TRACE_HEADER, "Idempotency-Key"]
)
@pytest.mark.parametrize("path", ["/v1/token", "/api/v2/sandbox/connection-details", "/v1/sessions"])
async def test_a_page_may_send_what_sdks_and_tracers_send(
    browsed: httpx.AsyncClient, path: str, header: str
) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": header}
    preflight = await browsed.options(path, headers={"Origin": PAGE, **ask})
    assert preflight.status_code == 200, preflight.text
    assert preflight.headers["access-control-allow-origin"] == PAGE


async def test_a_page_may_read_the_name_of_its_request(browsed: httpx.AsyncClient) -> None:
    answer = await browsed.get("/livez", headers={"Origin": PAGE})
    assert TRACE_HEADER in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://App.example.com/", "HTTPS://app.example.com", f"{PAGE}//"])
def test_an_origin_is_taken_as_browsers_send_it(origin: str) -> None:
    settings = api_settings(NO_DATABASE, "redis://x", cors_allowed_origins=[origin])
    assert settings.cors_allowed_origins == [PAGE]


@pytest.mark.parametrize("origin", ["app.example.com", f"{PAGE}/page", f"{PAGE}?q", "https://"])
def test_what_no_browser_sends_is_refused_by_name(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        api_settings(NO_DATABASE, "redis://x", cors_allowed_origins=[origin])
