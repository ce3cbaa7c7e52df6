"""The longest name that we accept is the longest that a real LiveKit accepts; we refuse what it refuses."""

import httpx
import jwt
import pytest
from livekit import rtc
from livekit.api import AccessToken, VideoGrants

from devstack.servers import LiveKitServer
from services.api.settings import ApiSettings
from tests.integration.api_client import api_settings, assert_problem, in_process, start

LONGEST = "漢" * 60 + "\u3000" + "👨\u200d👩\u200d👧" * 4 + "x"


@pytest.fixture
def longest() -> str:
    name = LONGEST + "é" * ((256 - len(LONGEST.encode())) // 2)
    return name + "x" * (256 - len(name.encode()))


def settings(sqlite_url: str, redis_url: str, livekit: LiveKitServer) -> ApiSettings:
    return api_settings(
        sqlite_url,
        redis_url,
        livekit_url=livekit.url,
        livekit_api_key=livekit.api_key,
        livekit_api_secret=livekit.api_secret,
    )


async def joined_as(url: str, token: str) -> tuple[str, str]:
    room = rtc.Room()
    await room.connect(url, token)
    try:
        return room.name, room.local_participant.identity
    finally:
        await room.disconnect()


async def test_who_has_the_longest_name_joins_and_a_byte_more_is_refused_by_its_size(
    sqlite_url: str, redis_url: str, livekit_server: LiveKitServer, longest: str
) -> None:
    assert len(longest.encode()) == 256
    async with in_process(settings(sqlite_url, redis_url, livekit_server)) as client:
        names = {"room_name": longest, "participant_identity": longest, "participant_name": longest}
        started = await start(client, **names)
        assert await joined_as(livekit_server.url, started["participant_token"]) == (longest, longest)
        await refused(client, dict.fromkeys(names, longest + "x"))
    claims = jwt.decode(started["participant_token"], options={"verify_signature": False})
    assert claims["name"] == longest
    grants = VideoGrants(room_join=True, room="a-room")
    token = AccessToken(livekit_server.api_key, livekit_server.api_secret).with_grants(grants)
    with pytest.raises(rtc.ConnectError):
        await joined_as(livekit_server.url, token.with_identity(longest + "x").to_jwt())


async def refused(client: httpx.AsyncClient, wish: dict[str, str]) -> None:
    body = assert_problem(await client.post("/v1/sessions", json=wish), 422, "invalid_request")
    assert {error["field"] for error in body["errors"]} == set(wish)
