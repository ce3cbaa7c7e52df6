"""The console's page on which one calls the agent, in a browser, on a real stack."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import chromium_saying
from tests.support.console import LAPTOP, PHONE, axe_violations, console_page
from tests.support.hearing import word_error
from tests.support.sessions import PATIENCE_S, Rollcall, until

pytestmark = pytest.mark.e2e

SENTENCE = "What are your opening hours?"
WRITTEN = "Bitte sprich langsam. ขอบคุณ"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium_saying(SENTENCE, folder=tmp_path) as browser:
        yield browser


async def session_of(page: Page) -> str:
    """The id of the session to which the page links."""
    link = page.get_by_role("link", name="What Rollcall knows of this call")
    await expect(link).to_be_visible(timeout=PATIENCE_S * 1000)
    return str(await link.get_attribute("href")).rpartition("/")[2]


async def test_a_call_from_the_console_is_spoken_read_and_stored(
    rollcall: Rollcall, browser: Browser
) -> None:
    async with console_page(browser, rollcall.stack.api_url) as page:
        await page.goto("/console/")
        await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Talk").click()
        await page.get_by_role("heading", level=1, name="Talk").wait_for()
        await page.get_by_label("Metadata").fill('{"from": "console"}')
        await page.get_by_role("button", name="Call", exact=True).click()
        session_id = await session_of(page)
        log = page.get_by_role("log", name="What is said")

        async def understood() -> bool:
            rows = await log.locator("p", has_text="You").all_inner_texts()
            return any(word_error(SENTENCE, row.partition("You")[2]) <= 0.2 for row in rows)

        await until(understood, what="the page shows what the caller says")
        await expect(log.locator("p", has_text="Agent").nth(1)).to_be_visible(timeout=PATIENCE_S * 1000)
        await page.get_by_label("Write instead").fill(WRITTEN)
        await page.get_by_role("button", name="Send").click()
        await expect(log).to_contain_text(WRITTEN)
        await page.get_by_role("button", name="Mute").click()
        await expect(page.get_by_role("button", name="Unmute")).to_be_visible()
        assert await axe_violations(page) == []

        async def stored() -> bool:
            items = (await rollcall.transcript(session_id))["items"]
            said = [item["text"] for item in items if item["role"] == "user"]
            return WRITTEN in said and any(word_error(SENTENCE, text) <= 0.2 for text in said)

        await until(stored, what="what was said and written is stored")
        await page.get_by_role("button", name="Hang up").click()
        await expect(page.get_by_text("You have hung up.")).to_be_visible()
        ended = await rollcall.until_status(session_id, "ended")
        assert ended["metadata"] == {"from": "console"}
        await page.get_by_role("link", name="Its transcript").click()
        await expect(page.get_by_text(WRITTEN)).to_be_visible(timeout=PATIENCE_S * 1000)


async def test_an_operator_listens_in_and_nobody_in_the_room_sees_it(
    rollcall: Rollcall, browser: Browser
) -> None:
    address = rollcall.stack.api_url
    async with console_page(browser, address) as calling, console_page(browser, address) as listening:
        await calling.goto("/console/talk")
        await calling.get_by_role("button", name="Call", exact=True).click()
        session_id = await session_of(calling)
        await rollcall.until_status(session_id, "active")
        await listening.goto(f"/console/sessions/{session_id}")
        await listening.get_by_role("button", name="Listen in").click()
        await expect(listening.get_by_text("You hear the call")).to_be_visible(timeout=PATIENCE_S * 1000)
        assert await axe_violations(listening) == []

        async def hears_both() -> bool:
            heard: list[float] = await listening.evaluate(
                "[...document.querySelectorAll('audio')].map((each) => each.currentTime)"
            )
            return len(heard) == 2 and all(seconds > 0.5 for seconds in heard)

        await until(hears_both, what="the agent and the caller are heard")
        await expect(calling.get_by_role("status").filter(has_text="The agent")).to_be_visible()
        assert await calling.locator("audio").count() == 1, "the caller hears the agent, and sees nobody else"
        await calling.get_by_role("button", name="Hang up").click()
        # The listener is no caller: the session ends, and its room is closed.
        await rollcall.until_status(session_id, "ended")
        await expect(listening.get_by_role("button", name="Listen in")).to_have_count(0)
        session = await rollcall.get(f"/v1/sessions/{session_id}")
        await rollcall.until_gone(session["room_name"])
        await expect(listening.locator("audio")).to_have_count(0)
        await expect(calling.locator("audio")).to_have_count(0)


async def test_an_agent_that_does_not_come_is_explained(rollcall: Rollcall, browser: Browser) -> None:
    async with console_page(browser, rollcall.stack.api_url) as page:
        await page.goto("/console/talk")
        await page.get_by_label("Agent name").fill("agemt")
        await page.get_by_role("button", name="Call without a microphone").click()
        await expect(page.get_by_role("status").filter(has_text="Waiting for the agent")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_text(
            "No agent came: agent name mismatch", timeout=PATIENCE_S * 1000
        )
        await page.get_by_role("link", name="What Rollcall knows of this call").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("No agent came")


async def test_a_browser_without_a_microphone_is_told_so_and_costs_no_session(
    rollcall: Rollcall, browser: Browser
) -> None:
    before = len((await rollcall.get("/v1/sessions"))["sessions"])
    async with console_page(browser, rollcall.stack.api_url) as page:
        denied = (
            "() => { navigator.mediaDevices.getUserMedia ="
            " async () => { throw new DOMException('no', '%s') } }"
        )
        await page.goto("/console/talk")
        for name, advice in (("NotAllowedError", "Allow it"), ("NotFoundError", "no microphone")):
            await page.evaluate(denied % name)
            await page.get_by_role("button", name="Call", exact=True).click()
            await expect(page.get_by_role("alert")).to_contain_text(advice)
        assert await axe_violations(page) == []
    assert len((await rollcall.get("/v1/sessions"))["sessions"]) == before


async def test_a_page_that_is_left_hangs_up(rollcall: Rollcall, browser: Browser) -> None:
    async with console_page(browser, rollcall.stack.api_url, size=PHONE, theme="dark") as page:
        await page.goto("/console/talk")
        await page.get_by_role("heading", level=1, name="Talk").wait_for()
        assert await axe_violations(page) == []
        await page.get_by_role("button", name="Call without a microphone").click()
        session_id = await session_of(page)
        await rollcall.until_status(session_id, "active")
        assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), LAPTOP
        await page.get_by_role("link", name="What Rollcall knows of this call").click()
        await rollcall.until_status(session_id, "ended")
