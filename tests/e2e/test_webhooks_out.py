"""A signed webhook tells an app that the agent is in the room."""

import httpx
import pytest

from tests.support.receiver import Received, Receiver
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e


async def test_a_joined_agent_is_told_to_the_endpoint(rollcall: Rollcall) -> None:
    async with Receiver() as receiver, httpx.AsyncClient(base_url=rollcall.stack.api_url) as api:
        wish = {"url": receiver.url, "events": ["agent.joined.v1"]}
        created = (await api.post("/v1/webhook-endpoints", json=wish)).json()
        session = (await rollcall.start())["session_id"]
        active = await rollcall.until_status(session, "active")

        async def told() -> Received | None:
            subjects = {request.event["subject"]: request for request in receiver.received}
            return subjects.get(f"session/{session}")

        request: Received = await until(told, what="agent.joined of this session")
        event = request.verified(created["secret"])
        assert event["type"] == "agent.joined.v1"
        assert event["data"]["participant_identity"] == active["agent_identity"]
        assert set(receiver.types) == {"agent.joined.v1"}
        await rollcall.end(session)
        assert (await api.delete(f"/v1/webhook-endpoints/{created['id']}")).status_code == 204
