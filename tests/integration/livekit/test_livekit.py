"""The answers of a real LiveKit server, and what the adapter makes of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.doctor.livekit import check_livekit
from cli.doctor.surroundings import Surroundings
from devstack.servers import LiveKitServer
from shared.contracts.causes import Cause
from shared.contracts.identifiers import new_id
from shared.contracts.settings import LiveKitSettings
from shared.platform.livekit.client import LiveKit, LiveKitError, NotFound


def connect(server: LiveKitServer, **changes: str) -> LiveKit:
    url = server.url + changes.get("path", "")
    key = changes.get("key", server.api_key)
    secret = changes.get("secret", server.api_secret)
    return LiveKit(
        LiveKitSettings(livekit_url=url, livekit_api_key=key, livekit_api_secret=SecretStr(secret))
    )


@pytest.fixture
async def livekit(livekit_server: LiveKitServer) -> AsyncIterator[LiveKit]:
    client = connect(livekit_server)
    yield client
    await client.close()


@pytest.mark.parametrize(
    "wrong", [{"key": "nobody"}, {"secret": "another-secret-of-thirty-two-chars"}], ids=["key", "secret"]
)
async def test_a_wrong_key_is_named_with_the_difference_of_the_clocks(
    livekit_server: LiveKitServer, wrong: dict[str, str]
) -> None:
    client = connect(livekit_server, **wrong)
    with pytest.raises(LiveKitError) as raised:
        await client.room_exists("room")
    error = raised.value
    assert (error.cause, error.retryable) == (Cause.LIVEKIT_AUTH, False)
    # The same clock: whatever is between the two is the time that the call took.
    assert abs(error.evidence["clock_skew_s"]) < 30
    assert "clock" not in str(error)
    await client.close()


async def test_a_room_that_is_missing_does_not_make_the_server_look_away(livekit: LiveKit) -> None:
    with pytest.raises(LiveKitError) as raised:
        await livekit.dispatches(f"no-such-{new_id()}")
    assert raised.value.cause is Cause.LIVEKIT_UNREACHABLE
    assert await livekit.answers()
    assert not await livekit.room_exists(f"no-such-{new_id()}")


async def test_what_a_missing_room_makes_other_calls_answer_is_no_outage_either(livekit: LiveKit) -> None:
    name = f"no-such-{new_id()}"
    assert await livekit.participants(name) == []
    for call in (livekit.remove_participant(name, "nobody"), livekit.delete_room(name)):
        with pytest.raises(LiveKitError):
            await call
        assert await livekit.answers()


async def test_a_wrong_path_is_named_and_not_taken_for_a_missing_room(livekit_server: LiveKitServer) -> None:
    client = connect(livekit_server, path="/api/")
    for call in (client.room_exists("room"), client.delete_room("room"), client.dispatches("room")):
        with pytest.raises(LiveKitError, match="/api is not LiveKit's API: it answers 404") as raised:
            await call
        assert raised.value.cause is Cause.LIVEKIT_UNREACHABLE
        assert not isinstance(raised.value, NotFound)
    await client.close()


@pytest.mark.parametrize(("path", "status"), [("", "pass"), ("/api", "fail")])
async def test_the_doctor_tells_livekit_from_another_path(
    livekit_server: LiveKitServer, tmp_path: Path, path: str, status: str
) -> None:
    file = tmp_path / "deployment.env"
    names = {"URL": livekit_server.url + path, "API_KEY": livekit_server.api_key}
    values = {**names, "API_SECRET": livekit_server.api_secret}
    file.write_text("".join(f"LIVEKIT_{name}={value}\n" for name, value in values.items()))
    found = (await check_livekit(Surroundings.of_file(file)))[0]
    assert found.status.value == status, found.evidence
