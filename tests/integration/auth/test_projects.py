"""Two projects in one deployment: neither sees or changes anything of the other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from redis.asyncio import Redis

from services.api.auth.access import Scope
from services.api.errors.problems import Problem
from services.api.sessions.rooms import room_of
from shared.contracts.events import Envelope
from shared.contracts.keys import ENVELOPE_FIELD, TURNS_STREAM
from shared.platform.database.database import Database
from tests.integration.api_client import SECRET, api_settings, beat_for_ever, in_process
from tests.integration.rows import a_turn, get_session, put_session, store_turns
from tests.support.keys import put_key
from tests.support.stream_entries import entries_of
from tests.unit.making import make_heartbeat


@dataclass
class Side:
    """A project, as its owner sees the API."""

    client: httpx.AsyncClient
    headers: dict[str, str]

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, path, headers=self.headers, **more)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def start(self, **wish: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "/v1/sessions", json=wish)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def sides(
    database_url: str, redis_url: str, database: Database
) -> AsyncIterator[tuple[Side, Side, Side]]:
    async with in_process(api_settings(database_url, redis_url, api_auth="keys")) as client:
        keys = [
            await put_key(database, Scope.ADMIN, project=project) for project in ("default", "ours", "theirs")
        ]
        default, ours, theirs = (Side(client, key) for key in keys)
        yield default, ours, theirs


def room_in(started: dict[str, Any]) -> str:
    claims = jwt.decode(started["participant_token"], SECRET, algorithms=["HS256"])
    return str(claims["video"]["room"])


async def test_a_session_belongs_to_the_project_and_the_key_that_asked_for_it(
    sides: tuple[Side, Side, Side], database: Database
) -> None:
    _, ours, theirs = sides
    started = await ours.start()
    row = await get_session(database, started["session_id"])
    assert (row.project, row.api_key_id) == ("ours", ours.headers["Authorization"][19:31])
    assert [s["session_id"] for s in (await ours.get("/v1/sessions"))["sessions"]] == [row.id]
    assert (await theirs.get("/v1/sessions"))["sessions"] == []


async def test_rooms_of_one_name_are_not_one_room_and_no_token_opens_anothers(
    sides: tuple[Side, Side, Side],
) -> None:
    default, ours, theirs = sides
    rooms = [await side.start(room_name="lobby") for side in sides]
    assert [room["room_name"] for room in rooms] == ["lobby", "@ours/lobby", "@theirs/lobby"]
    assert [room_in(room) for room in rooms] == [room["room_name"] for room in rooms]
    # By its full name too: to its own project it is the same room, to others never that one.
    again = await ours.ask("POST", "/v1/sessions", json={"room_name": "@ours/lobby"})
    assert again.json()["code"] == "room_in_use"
    assert room_in(await theirs.start(room_name="@ours/lobby")) == "@theirs/@ours/lobby"
    refused = await default.ask("POST", "/v1/sessions", json={"room_name": "@ours/lobby"})
    assert refused.json()["errors"][0]["field"] == "room_name"
    # Not even by the name of a room that was made up for a session.
    made_up = (await ours.start())["room_name"]
    assert made_up.startswith("@ours/room-")
    assert (await default.ask("POST", "/v1/sessions", json={"room_name": made_up})).status_code == 422


def test_a_rooms_name_says_whose_it_is() -> None:
    assert room_of("default", "lobby") == "lobby"
    assert room_of("a", "lobby") == room_of("a", "@a/lobby") == "@a/lobby"
    assert room_of("a", "@b/lobby") == "@a/@b/lobby"
    with pytest.raises(Problem):
        room_of("default", "@a/lobby")


async def test_a_search_finds_what_was_said_in_ones_own_project(
    sides: tuple[Side, Side, Side], database: Database
) -> None:
    _, ours, theirs = sides
    session = await put_session(database, project="theirs")
    await store_turns(database, [a_turn(session.id, text="the pineapple is on fire")])
    assert len((await theirs.get("/v1/transcripts/search?q=pineapple"))["results"]) == 1
    assert (await ours.get("/v1/transcripts/search?q=pineapple"))["results"] == []
    named = await ours.get(f"/v1/transcripts/search?q=pineapple&session_id={session.id}")
    assert named["results"] == []


async def test_an_erasure_of_a_participant_erases_nothing_of_another_project(
    sides: tuple[Side, Side, Side], database: Database, redis: Redis
) -> None:
    _, ours, _theirs = sides
    rows = {
        project: await put_session(database, project=project, participant_identity="anna")
        for project in ("ours", "theirs")
    }
    for row in rows.values():
        turn = a_turn(row.id, participant_identity="anna", text="pineapple")
        await store_turns(database, [turn])
        envelope = Envelope(
            source="test",
            type=turn.type,
            subject=f"session/{row.id}",
            time=turn.created_at,
            data=turn.model_dump(mode="json"),
        )
        await redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: envelope.model_dump_json()})
    answer = await ours.ask("POST", "/v1/erasures", json={"participant_identity": "anna"})
    assert answer.json()["session_ids"] == [rows["ours"].id]
    assert answer.json()["stream_entries"] == 1
    [left] = await entries_of(redis, TURNS_STREAM)
    assert rows["theirs"].id in left[1][ENVELOPE_FIELD]
    assert (await get_session(database, rows["theirs"].id)).transcript_erased_at is None
    assert (await get_session(database, rows["ours"].id)).transcript_erased_at is not None


@pytest.mark.sql
async def test_a_worker_is_shown_with_the_sessions_of_ones_own_project(
    sides: tuple[Side, Side, Side], database: Database, redis: Redis
) -> None:
    _, ours, _theirs = sides
    mine, other = [(await put_session(database, project=project)).id for project in ("ours", "theirs")]
    await beat_for_ever(redis, make_heartbeat(sessions=[mine, other], active_jobs=2))
    [worker] = (await ours.get("/v1/workers"))["workers"]
    assert (worker["sessions"], worker["active_jobs"]) == ([mine], 2)
