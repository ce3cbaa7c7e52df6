"""What docs/why-didnt-my-agent-join.md says of LiveKit's OK, and its program that looks, at a real server."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from livekit import api

from devstack.servers import LiveKitServer
from shared.contracts.identifiers import new_id

PAGE: Final = Path(__file__).parents[3] / "docs" / "why-didnt-my-agent-join.md"


@pytest.fixture
async def livekit(livekit_server: LiveKitServer) -> AsyncIterator[api.LiveKitAPI]:
    async with api.LiveKitAPI(
        livekit_server.url, livekit_server.api_key, livekit_server.api_secret
    ) as livekit:
        yield livekit


async def look(server: LiveKitServer, room: str) -> str:
    """What the page's program prints."""
    [program] = re.findall(r"^```python\n(.+?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    variables = {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        room,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def test_livekit_says_ok_to_a_name_that_nobody_serves_and_the_program_shows_no_job(
    livekit: api.LiveKitAPI, livekit_server: LiveKitServer
) -> None:
    room, name = f"room-{new_id()}", f"nobody-{new_id()}"
    dispatch = await livekit.agent_dispatch.create_dispatch(
        api.CreateAgentDispatchRequest(room=room, agent_name=name)
    )
    assert dispatch.id.startswith("AD_")

    printed = await look(livekit_server, room)
    assert re.search(r"^rooms: \['RM_\w+'\]$", printed, re.MULTILINE)
    assert re.search(r"^participants: \[\]$", printed, re.MULTILINE)
    assert dispatch.id in printed
    assert name in printed
    assert "jobs" not in printed


async def test_livekit_says_ok_to_an_empty_room_name(livekit: api.LiveKitAPI) -> None:
    request = api.CreateAgentDispatchRequest(room="", agent_name=f"nobody-{new_id()}")
    assert (await livekit.agent_dispatch.create_dispatch(request)).id.startswith("AD_")


async def test_without_a_room_the_program_shows_nothing_and_the_list_of_dispatches_fails(
    livekit: api.LiveKitAPI, livekit_server: LiveKitServer
) -> None:
    room = f"room-{new_id()}"
    assert await look(livekit_server, room) == "rooms: []\nparticipants: []\n"
    with pytest.raises(api.TwirpError) as refused:
        await livekit.agent_dispatch.list_dispatch(room)
    assert refused.value.status == 503
    assert "no response from servers" in refused.value.message
