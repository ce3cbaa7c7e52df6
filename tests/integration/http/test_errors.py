"""Every error is a problem detail with the request's trace id."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from services.api.app import create_app
from services.api.errors.catalogue import CATALOGUE
from shared.contracts.identifiers import new_id
from tests.integration.api_client import api_settings, in_process

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def client(sqlite_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(sqlite_url, redis_url)) as client:
        yield client


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["title"] == CATALOGUE[code].title
    assert body["trace_id"] == answer.headers["x-request-id"]
    assert body["instance"] == answer.request.url.path
    return body


async def test_what_the_framework_refuses_is_a_problem_too(client: httpx.AsyncClient) -> None:
    assert_is_problem(await client.get("/nowhere"), 404, "not_found")
    refused = await client.put(f"/v1/sessions/{new_id()}")
    assert_is_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "DELETE, GET, HEAD", "all of the path, whatever route they are of"
    assert_is_problem(await client.get("/v1/sessions?limit=0"), 422, "invalid_request")


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing_of_the_inside(
    sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr("services.api.sessions.routes.list_sessions", fail)
    async with in_process(api_settings(sqlite_url, redis_url)) as client:
        with capture_logs() as logged:
            answer = await client.get("/v1/sessions", headers={"X-Request-Id": "mine"})
    [told] = [line for line in logged if line["event"] == "request_failed"]
    assert (told["trace_id"], told["path"]) == ("mine", "/v1/sessions")
    assert assert_is_problem(answer, 500, "internal_error")["trace_id"] == "mine"
    assert "hunter2" not in answer.text


async def test_an_error_about_a_session_names_it(client: httpx.AsyncClient) -> None:
    session_id = new_id()
    for path in ("", "/events", "/transcript"):
        body = assert_is_problem(
            await client.get(f"/v1/sessions/{session_id}{path}"), 404, "session_not_found"
        )
        assert body["session_id"] == session_id


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-Id": "order-42:a.b_c"}, "order-42:a.b_c"),
        ({"traceparent": TRACEPARENT}, "4bf92f3577b34da6a3ce929d0e0e4736"),
        ({"X-Request-Id": "own", "traceparent": TRACEPARENT}, "own"),
        ({"X-Request-Id": "two\twords"}, None),
        ({"X-Request-Id": "x" * 129}, None),
        ({"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"}, None),
    ],
)
async def test_a_request_keeps_its_name_and_gets_one_if_it_has_none_that_is_fit(
    client: httpx.AsyncClient, headers: dict[str, str], expected: str | None
) -> None:
    fine = await client.get("/livez", headers=headers)
    wrong = await client.get("/nowhere", headers=headers)
    for answer in (fine, wrong):
        name = answer.headers["x-request-id"]
        assert name == expected if expected else len(name) == 32
    assert wrong.json()["trace_id"] == wrong.headers["x-request-id"]


async def test_what_is_logged_for_a_request_bears_its_name(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def note(*_: Any, **__: Any) -> None:
        seen.append(structlog.contextvars.get_contextvars().get("trace_id"))
        raise RuntimeError

    monkeypatch.setattr("services.api.sessions.routes.list_sessions", note)
    with capture_logs():
        await client.get("/v1/sessions", headers={"X-Request-Id": "mine"})
    assert seen == ["mine"]
    assert "trace_id" not in structlog.contextvars.get_contextvars()


async def test_the_type_of_an_error_leads_to_a_page_about_it(client: httpx.AsyncClient) -> None:
    for code, entry in CATALOGUE.items():
        told = (await client.get(f"/problems/{code}")).json()
        assert (told["code"], told["status"], told["advice"]) == (code, entry.status, entry.advice)
        page = await client.get(f"/problems/{code}", headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.headers["content-type"].startswith("text/html")
        assert code in page.text


async def test_there_is_no_page_about_what_is_no_error(client: httpx.AsyncClient) -> None:
    assert_is_problem(await client.get("/problems/no_such_thing"), 404, "not_found")


async def test_json_that_is_nested_too_deep_is_no_fault_of_ours(client: httpx.AsyncClient) -> None:
    for depth, expected in ((32, 202), (33, 422), (900, 422)):
        body = b'{"metadata": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        answer = await client.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == expected, answer.text[:300]
    too_deep_to_read = await client.post(
        "/v1/sessions", content=b"[" * 20_000, headers={"content-type": "application/json"}
    )
    assert_is_problem(too_deep_to_read, 400, "bad_request")


def test_every_problem_in_the_schema_has_what_every_problem_has() -> None:
    schema = create_app(api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1")).openapi()
    for methods in schema["paths"].values():
        for operation in methods.values():
            if operation["tags"] != ["errors"]:
                assert {"401", "403", "413", "429", "500"} <= set(operation["responses"])
