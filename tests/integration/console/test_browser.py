"""How people get into the console in a browser, and what their keys show."""

from playwright.async_api import Browser, expect

from services.api.auth.access import Scope
from services.api.console.cookies import LOOPBACK_COOKIE
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, served
from tests.integration.rows import a_turn, put_session, store_turns
from tests.support.console import axe_violations, console_page, log_in
from tests.support.keys import bare_key
from tests.support.sessions import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)


async def test_a_key_lets_a_browser_in_until_it_logs_out(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> None:
    await put_session(database, agent_name="shop")
    key = await bare_key(database, Scope.SESSIONS_READ)
    settings = api_settings(database_url, redis_url, api_auth="keys")
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto("/console/")
        field = page.get_by_label("API key")
        await log_in(page, key[:-1] + ("a" if key[-1] != "a" else "b"))
        await expect(page.get_by_role("alert")).to_contain_text("not a key of this deployment")
        assert await axe_violations(page) == []
        await log_in(page, key)
        await expect(page.get_by_role("cell", name="shop", exact=True)).to_be_visible()
        kept = await page.evaluate("JSON.stringify([document.cookie, localStorage, sessionStorage])")
        assert key not in kept, "scripts can't read the key"
        [cookie] = await page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"]) == (LOOPBACK_COOKIE, True)
        await page.reload()
        await expect(page.get_by_role("cell", name="shop", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(field).to_be_visible()
        await page.reload()
        await expect(field).to_be_visible()


async def test_a_key_without_transcripts_shows_no_words(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> None:
    session = await put_session(database)
    await store_turns(database, [a_turn(session.id, 1, text="my secret is swordfish")])
    settings = api_settings(database_url, redis_url, api_auth="keys")
    async with served(settings) as api:
        for scopes, words in (([Scope.SESSIONS_READ], 0), ([Scope.SESSIONS_READ, Scope.TRANSCRIPTS_READ], 1)):
            async with console_page(browser, str(api.base_url)) as page:
                await page.goto(f"/console/sessions/{session.id}")
                await log_in(page, await bare_key(database, *scopes))
                timeline = page.get_by_role("region", name="Timeline")
                await expect(timeline).to_contain_text("Requested")
                await expect(page.get_by_text("swordfish")).to_have_count(words)
                if not words:
                    await expect(page.get_by_text("Your key may not read what was said")).to_be_visible()
