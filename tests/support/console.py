"""The console in Chromium: a page that fails its test for what no page may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright

from tests.support.browser import chromium_program

AXE: Final = Path(__file__).parents[2] / "services/console/node_modules/axe-core/axe.min.js"
LAPTOP: Final = (1280, 720)
PHONE: Final = (390, 844)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Yield the machine's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_program(),
            args=["--no-sandbox", "--disable-background-networking"],  # CI runs as root; the pages are ours
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def console_page(
    browser: Browser, address: str, *, size: tuple[int, int] = LAPTOP, theme: str = "light"
) -> AsyncIterator[Page]:
    """Yield a page whose paths are those of the console at `address`.

    At the end the test fails for every error that the page threw, and every violation of its policy.
    """
    width, height = size
    context = await browser.new_context(
        base_url=address, viewport={"width": width, "height": height}, color_scheme=_scheme(theme)
    )
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if _is_fault(message.text) else None)
    try:
        yield page
    finally:
        await context.close()
    assert not faults, faults


async def log_in(page: Page, key: str) -> None:
    """Exchange the key for a login, in the form that the page shows."""
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Log in", exact=True).click()


def _scheme(theme: str) -> Any:
    return theme


def _is_fault(text: str) -> bool:
    return "Content Security Policy" in text or "Uncaught" in text


async def axe_violations(page: Page) -> list[str]:
    """Return what axe finds: WCAG 2.2 AA, as rule and place."""
    # Not as a script element, which the page's policy forbids.
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = await page.evaluate(
        "async () => (await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',"
        " 'wcag22aa', 'best-practice']})).violations"
    )
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


async def below_the_fold(page: Page) -> int:
    """Return how many pixels of the page one has to scroll for."""
    hidden: int = await page.evaluate(
        "[document.documentElement, document.querySelector('main')]"
        ".reduce((sum, each) => sum + each.scrollHeight - each.clientHeight, 0)"
    )
    return hidden
