"""What a real LiveKit server answers, and what the adapter makes of it."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from cli.servers import LiveKitServer
from shared.contracts.causes import Cause
from shared.contracts.identifiers import new_id
from shared.contracts.settings import LiveKitSettings
from shared.runtime.livekit import LiveKit, LiveKitError


def connect(server: LiveKitServer, **changes: str) -> LiveKit:
    key = changes.get("key", server.api_key)
    secret = changes.get("secret", server.api_secret)
    return LiveKit(
        LiveKitSettings(livekit_url=server.url, livekit_api_key=key, livekit_api_secret=SecretStr(secret))
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
