"""LiveKit's own client in a real browser, from a page's load to the transcript of its call."""

from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.browser import chromium_saying
from tests.support.hearing import word_error
from tests.support.sessions import Rollcall, until

pytestmark = pytest.mark.e2e

SENTENCE = "What are your opening hours?"


def _is_ours(text: str) -> bool:
    return word_error(SENTENCE, text) <= 0.2


def room_of(token: dict[str, Any]) -> str:
    """The room that a token is for."""
    claims = jwt.decode(token["participantToken"], options={"verify_signature": False})
    name: str = claims["video"]["room"]
    return name


async def test_a_page_that_knows_only_our_url_talks_to_the_agent(
    rollcall: Rollcall, page_origin: str, tmp_path: Path
) -> None:
    url = f"{rollcall.stack.api_url}/v1/token"
    async with chromium_saying(SENTENCE, folder=tmp_path) as browser:
        page = await browser.new_page()

        async def load() -> dict[str, Any]:
            await page.goto(f"{page_origin}/page.html")
            await page.wait_for_function("window.ready")
            options = {"agentName": "agent", "agentMetadata": '{"page": "test"}'}
            token: dict[str, Any] = await page.evaluate("(all) => load(...all)", [url, options])
            return token

        unused, used = await load(), await load()
        assert room_of(unused) != room_of(used)
        await page.evaluate("(token) => join(token)", used)
        sessions = {s["room_name"]: s for s in (await rollcall.get("/v1/sessions"))["sessions"]}
        session_id = sessions[room_of(used)]["session_id"]
        active = await rollcall.until_status(session_id, "active")
        assert active["metadata"] == {"page": "test"}

        async def agent_listens() -> bool:
            listening: bool = await page.evaluate("agentState() === 'listening'")
            return listening and bool(await page.evaluate("heard()") > 0)

        await until(agent_listens, what="the agent has greeted, and listens")
        greeting: float = await page.evaluate("heard()")
        await page.evaluate("speak()")

        async def answered() -> bool:
            items = (await rollcall.transcript(session_id))["items"]
            said = [n for n, item in enumerate(items) if item["role"] == "user" and _is_ours(item["text"])]
            return bool(said) and any(item["role"] == "assistant" for item in items[said[0] :])

        await until(answered, what="the sentence and its answer are stored")
        await page.screenshot(path=tmp_path / "page.png")
        assert await page.evaluate("heard()") > greeting, "the answer was heard in the browser"

        await page.evaluate("leave()")
        await rollcall.until_status(session_id, "ended")
        await rollcall.until_gone(room_of(used))
        # The token is still valid and the call is over: a caller who returns learns that, and does not wait.
        outcome = await page.evaluate("(token) => rejoin(token)", used)
        assert outcome in {"ROOM_DELETED", "ConnectionError"}, "put out, or not even let in"

    types = await rollcall.event_types(session_id)
    assert types[:3] == ["session.reserved.v1", "session.requested.v1", "dispatch.started.v1"]
    assert types.count("agent.joined.v1") == 1
    # The page that was only loaded has started no agent in all that time.
    idle = sessions[room_of(unused)]["session_id"]
    assert await rollcall.event_types(idle) == ["session.reserved.v1"]
    assert not await rollcall.room_exists(room_of(unused))
