"""The console in a browser, on a real stack."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from devstack.stack import Stack
from tests.e2e.test_takeover import job_process
from tests.support.console import LAPTOP, PHONE, axe_violations, below_the_fold, chromium, console_page
from tests.support.sessions import PATIENCE_S, Rollcall

pytestmark = pytest.mark.e2e

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", autouse=True)
async def unserved(stack: Stack) -> tuple[str, str]:
    """Two sessions for an agent that nobody is. They fail after the whole budget; tests run meanwhile."""
    rollcall = Rollcall(stack)
    first, second = [await rollcall.start(agent_name="agemt") for _ in range(2)]
    await rollcall.close()
    return first["session_id"], second["session_id"]


async def test_a_second_lane_grows_while_one_looks(rollcall: Rollcall, browser: Browser) -> None:
    session_id = (await rollcall.start())["session_id"]
    await rollcall.until_status(session_id, "active")
    async with console_page(browser, rollcall.stack.api_url) as page:
        await page.goto(f"/console/sessions/{session_id}")
        await expect(page.locator("svg[data-lanes='1']")).to_be_visible()
        os.kill(job_process(rollcall, session_id, 1), signal.SIGKILL)
        await expect(page.locator("svg[data-lanes='2']")).to_be_visible()
        await expect(page.get_by_role("region", name="Timeline")).to_contain_text("The agent is gone")
        await expect(page.get_by_text("1 lost agent was replaced.")).to_be_visible()
        await page.get_by_role("button", name="End session").click()
        await page.get_by_role("button", name="Yes, end this session").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("the call lasted")


async def test_a_failed_session_is_explained_without_scrolling(
    rollcall: Rollcall, browser: Browser, unserved: tuple[str, str]
) -> None:
    session_id, other = unserved
    async with console_page(browser, rollcall.stack.api_url) as page:
        await page.goto(f"/console/sessions/{session_id}")
        headline = page.get_by_role("heading", level=1)
        # The page is open while the attempts fail, and is never loaded again.
        await expect(headline).to_have_text(
            "No agent came: no worker has this agent name, but one has a similar name."
        )
        await rollcall.until_status(other, "failed")
        await page.reload()
        seen = {
            "the sentence": headline,
            "what shows it": page.get_by_text("Asked: agemt."),
            "the command": page.get_by_text("LIVEKIT_AGENT_NAME=agent", exact=True),
            "who else": page.get_by_role("link", name="with this cause"),
            "the attempts": page.locator("svg[data-lanes]"),
            "the timeline": page.get_by_role("region", name="Timeline"),
            "the ids": page.get_by_text(f"session_id={session_id}"),
        }
        for what, part in seen.items():
            await expect(part, what).to_be_in_viewport(ratio=1)
        assert await below_the_fold(page) == 0, "nothing of the page is below a screen of 1280 by 720"
        await page.get_by_role("button", name="Copy the command").click()


async def test_every_page_is_accessible_in_both_themes(
    rollcall: Rollcall, browser: Browser, unserved: tuple[str, str]
) -> None:
    failed, _ = unserved
    await rollcall.until_status(failed, "failed")
    pages = ["/console/", f"/console/sessions/{failed}", f"/console/sessions/{failed}?view=table"]
    pages += ["/console/sessions/unknown", "/console/?agent=nobody"]
    for theme, size in (("light", LAPTOP), ("dark", LAPTOP), ("light", PHONE)):
        async with console_page(browser, rollcall.stack.api_url, size=size, theme=theme) as page:
            for path in pages:
                await page.goto(path)
                await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
                await page.locator("h1").first.wait_for()
                assert await axe_violations(page) == [], (path, theme, size)
                wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, f"{path} is wider than {size}"
