"""How people get into the console in a browser, and what their keys show."""

from playwright.async_api import Browser, expect
from redis.asyncio import Redis

from services.api.auth.access import Scope
from services.api.auth.roles import SCOPES_OF, AccessRole
from services.api.console.cookies import LOOPBACK_COOKIE
from shared.contracts.events import AgentReady
from shared.contracts.keys import captions_channel
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import record
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, served
from tests.integration.console.test_pages import PAGES
from tests.integration.rows import a_turn, put_letter, put_session, store_turns
from tests.support.console import PHONE, axe_violations, console_page, log_in
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


async def test_a_viewer_sees_no_words_on_any_page(
    database: Database, database_url: str, redis: Redis, redis_url: str, browser: Browser
) -> None:
    session = await put_session(database, status=SessionStatus.ACTIVE)
    await store_turns(database, [a_turn(session.id, 1, text="my secret is swordfish")])
    await put_letter(redis, session.id, text="my secret is swordfish")
    of_session = (
        f"sessions/{session.id}",
        f"sessions/{session.id}?view=table",
        f"sessions/{session.id}/transcript",
    )
    settings = api_settings(database_url, redis_url, api_auth="keys")
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto("/console/")
        await log_in(page, await bare_key(database, *SCOPES_OF[AccessRole.VIEWER]))
        await expect(page.locator("main[data-stream=live]")).to_be_attached()
        for path in (*PAGES, *of_session, "search?q=swordfish", "dead-letters?letter=1-0"):
            await page.goto(f"/console/{path}")
            await page.locator("h1").first.wait_for(state="attached")
            await expect(page.get_by_role("status").filter(has_text="Loading")).to_have_count(0)
            assert "swordfish" not in await page.locator("main").inner_text(), path
        for path in ("search?q=swordfish", of_session[2], "fleet"):
            await page.goto(f"/console/{path}")
            await expect(page.get_by_text("Your key may not see").first).to_be_visible()
        await page.goto(f"/console/{of_session[0]}")
        await expect(page.get_by_role("region", name="Timeline")).to_contain_text("Requested")
        await expect(page.get_by_text("Your key may not read what was said")).to_be_visible()
        await expect(page.get_by_role("button", name="End session")).to_have_count(0)
        # What is said from now on comes to those who may read it, and to nobody else.
        await nobody_listens(redis, session.id)
        await store_turns(database, [a_turn(session.id, 2, text="swordfish again")])
        async with database.write() as db:
            await record(db, session, AgentReady(attempt=1), now=utc_now())
        await expect(page.get_by_role("region", name="Timeline")).to_contain_text("The agent listens")
        assert "swordfish" not in await page.locator("main").inner_text()


async def nobody_listens(redis: Redis, session_id: str) -> None:
    channel = captions_channel(session_id)
    assert dict(await redis.pubsub_numsub(channel)) == {channel: 0}, "no captions for a viewer"


async def test_a_role_with_transcripts_sees_the_words(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> None:
    session = await put_session(database)
    await store_turns(database, [a_turn(session.id, 1, text="my secret is swordfish")])
    settings = api_settings(database_url, redis_url, api_auth="keys")
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto(f"/console/sessions/{session.id}")
        await log_in(page, await bare_key(database, *SCOPES_OF[AccessRole.TRANSCRIPTS]))
        await expect(page.get_by_text("swordfish")).to_have_count(1)


async def test_the_current_pages_link_is_in_view_on_a_phone(
    database_url: str, redis_url: str, browser: Browser
) -> None:
    async with (
        served(api_settings(database_url, redis_url)) as api,
        console_page(browser, str(api.base_url), size=PHONE) as page,
    ):
        for path, name in (("audit", "Audit"), ("", "Sessions"), ("fleet", "Fleet")):
            await page.goto(f"/console/{path}")
            link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True)
            await expect(link).to_have_attribute("aria-current", "page")
            await expect(link).to_be_in_viewport(ratio=1)
        await page.get_by_role("link", name="Webhooks", exact=True).click()
        chosen = page.get_by_role("navigation", name="Pages").locator("[aria-current=page]")
        await expect(chosen).to_have_text("Webhooks")
        await expect(chosen).to_be_in_viewport(ratio=1)
