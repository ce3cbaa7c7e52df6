"""Dead letters over HTTP: whoever runs a project sees its own, puts them back, and deletes them."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from cli.main import app
from services.api.auth.access import Scope
from services.api.dead_letters import of_project
from shared.contracts.identifiers import new_id
from shared.contracts.keys import DEAD_LETTERS_STREAM, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process, served
from tests.integration.rows import put_letter, put_session
from tests.support.keys import put_key
from tests.support.stream_entries import entries_of

PATH = "/v1/dead-letters"


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(api_settings(database_url, redis_url)) as client:
        yield client


async def test_a_letter_is_read_put_back_and_gone(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    session = await put_session(database)
    letter_id = await put_letter(redis, session.id, text="My name is Anna.")
    [listed] = (await client.get(PATH)).json()["dead_letters"]
    assert listed == {
        "id": letter_id,
        "stream": TURNS_STREAM,
        "reason": "refused",
        "detail": "too late",
        "set_aside_at": listed["set_aside_at"],
        "session_ids": [session.id],
        "can_go_back": True,
    }
    answer = await client.get(f"{PATH}/{letter_id}")
    assert answer.headers["cache-control"] == "no-store"
    [(_, was)] = await entries_of(redis, DEAD_LETTERS_STREAM)
    assert answer.json() == {**listed, "event": was["event"]}
    assert (await client.post(f"{PATH}/{letter_id}/replay")).status_code == 202
    assert [fields for _, fields in await entries_of(redis, TURNS_STREAM)] == [{"event": was["event"]}]
    assert_problem(await client.get(f"{PATH}/{letter_id}"), 404, "dead_letter_not_found")


async def test_a_letter_is_deleted_for_good(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    letter_id = await put_letter(redis, (await put_session(database)).id)
    assert (await client.delete(f"{PATH}/{letter_id}")).status_code == 204
    assert await redis.xlen(DEAD_LETTERS_STREAM) == await redis.xlen(TURNS_STREAM) == 0
    assert_problem(await client.delete(f"{PATH}/{letter_id}"), 404, "dead_letter_not_found")


@pytest.mark.parametrize("letter_id", ["x", "1", "1-", "-1-1", f"{2**64}-0", "1-1 ", "%00", "+"])
async def test_what_is_no_id_is_of_no_letter(client: httpx.AsyncClient, letter_id: str) -> None:
    assert_problem(await client.get(f"{PATH}/{letter_id}"), 404, "dead_letter_not_found")


async def test_a_letter_without_content_stays(client: httpx.AsyncClient, redis: Redis) -> None:
    empty = await put_letter(redis, new_id(), content={})
    strange = await put_letter(redis, new_id(), stream=EVENTS_STREAM)
    for letter_id in (empty, strange):
        assert (await client.get(f"{PATH}/{letter_id}")).json()["can_go_back"] is False
        assert_problem(await client.post(f"{PATH}/{letter_id}/replay"), 409, "dead_letter_empty")
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 2


async def test_pages_come_newest_first_and_filters_hold_over_all_of_them(
    client: httpx.AsyncClient, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = (await put_session(database)).id
    ids = [await put_letter(redis, session_id, reason=f"{'odd' if at % 2 else 'even'}: x") for at in range(9)]
    monkeypatch.setattr("shared.platform.redis.dead_letters.PAGE", 2)
    monkeypatch.setattr(of_project, "PAGE", 2)

    async def read_all(**query: str) -> list[str]:
        found, cursor = [], None
        while True:
            asked = {"limit": "2", **query, **({"cursor": cursor} if cursor else {})}
            page = (await client.get(PATH, params=asked)).json()
            found += [letter["id"] for letter in page["dead_letters"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    assert await read_all() == ids[::-1]
    assert await read_all(reason="odd") == ids[1::2][::-1]
    assert await read_all(stream="reports") == []
    monkeypatch.setattr(of_project, "_MOST_PAGES", 1)
    assert await read_all(reason="even") == ids[::2][::-1], "a short page is not the last one"
    assert_problem(await client.get(PATH, params={"cursor": "abc"}), 422, "invalid_request")


async def test_each_project_has_its_own_letters(
    database: Database, database_url: str, redis: Redis, redis_url: str
) -> None:
    theirs = (await put_session(database, project="theirs")).id
    ours = (await put_session(database, project="ours")).id
    letter_ids = {
        "theirs": await put_letter(redis, theirs),
        "ours": await put_letter(redis, ours, stream=REPORTS_STREAM),
        "default": await put_letter(redis, ours, content={"event": "not JSON"}),
    }
    both = await put_letter(redis, ours, content={"event": f"not JSON: {ours} {theirs}"})
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        for project, letter_id in letter_ids.items():
            key = await put_key(database, Scope.ADMIN, project=project)
            listed = (await client.get(PATH, headers=key)).json()["dead_letters"]
            assert [letter["id"] for letter in listed] == [letter_id], project
            assert (await client.get(f"{PATH}/{both}", headers=key)).status_code == 404
        replayed = (
            await client.post(
                "/v1/dead-letter-replays",
                headers=await put_key(database, Scope.ADMIN, project="ours"),
                json={},
            )
        ).json()
    assert replayed == {
        "dead_letters": [{"stream": REPORTS_STREAM, "reason": "refused", "found": 1, "put_back": 1}],
        "put_back": 1,
    }
    assert await redis.xlen(REPORTS_STREAM) == 1
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 3


async def test_without_redis_the_answer_says_so(database_url: str) -> None:
    async with in_process(api_settings(database_url, "redis://127.0.0.1:1/0")) as client:
        for answer in (
            await client.get(PATH),
            await client.get(f"{PATH}/1-1"),
            await client.post("/v1/dead-letter-replays", json={}),
        ):
            assert_problem(answer, 503, "redis_unavailable")
            assert answer.headers["retry-after"]


async def test_the_command_asks_the_api_that_it_is_given(
    database: Database, database_url: str, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = (await put_session(database)).id
    for reason in ("malformed", "unknown_session"):
        await put_letter(redis, session_id, reason=reason)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    async with served(api_settings(database_url, redis_url)) as client:

        async def replay(*words: str) -> str:
            command = ["replay", "--api", str(client.base_url), *words]
            done = await asyncio.to_thread(CliRunner().invoke, app, command)
            assert done.exit_code == 0, done.output
            return done.stdout

        assert "unknown_session" in await replay("--dry-run")
        assert await redis.xlen(DEAD_LETTERS_STREAM) == 2
        told = await replay("--reason", "malformed", "--stream", "turns", "--json")
    answer = json.JSONDecoder().raw_decode(told[told.index('{"dead_letters"') :])[0]
    assert answer["put_back"] == 1
    assert await redis.xlen(DEAD_LETTERS_STREAM) == await redis.xlen(TURNS_STREAM) == 1
