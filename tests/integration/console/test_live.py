"""The browser's one stream: its tabs share it, another tab takes it over, and a cut loses nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Browser, BrowserContext, Page, expect
from redis.asyncio import Redis

from shared.contracts.events import AgentReady
from shared.contracts.keys import NEWS_CHANNEL, captions_channel
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.repository import record
from shared.core.sessions.tables import SessionRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.hints import give_hint
from tests.integration.api_client import api_settings, served
from tests.integration.live.test_event_stream import a_caption, until_listening
from tests.integration.rows import a_turn, put_session, store_turns
from tests.stack_fixtures.waiting import eventually
from tests.support.console import console_page
from tests.support.sessions import PATIENCE_S
from tests.support.wire import Wire

# Shorter than the time after which a page asks again by itself, and longer than a slow machine needs.
BY_THE_STREAM_MS: Final = 40_000
EIGHT: Final = 8

expect.set_options(timeout=PATIENCE_S * 1000)


@asynccontextmanager
async def wired(database_url: str, redis_url: str) -> AsyncIterator[Wire]:
    """The API behind a connection that can be cut."""
    async with served(api_settings(database_url, redis_url)) as api:
        wire = Wire(api.base_url.port or 0)
        await wire.open()
        try:
            yield wire
        finally:
            await wire.close()


def streams_of(context: BrowserContext) -> list[str]:
    """The streams that the context opens from now on."""
    opened: list[str] = []
    context.on("request", lambda request: opened.append(request.url) if "/events" in request.url else None)
    return opened


async def new_session(database: Database, redis: Redis) -> SessionRow:
    row = await put_session(database)
    await give_hint(redis, row.id, channel=NEWS_CHANNEL)
    return row


async def is_live(page: Page) -> None:
    await expect(page.locator("main[data-stream=live]")).to_be_attached()


async def shows(page: Page, text: str) -> None:
    await expect(page.get_by_text(text).first).to_be_visible(timeout=BY_THE_STREAM_MS)


async def test_eight_tabs_share_a_stream_and_another_takes_it_over(
    database: Database, database_url: str, redis: Redis, redis_url: str, browser: Browser
) -> None:
    async with (
        served(api_settings(database_url, redis_url)) as api,
        console_page(browser, str(api.base_url)) as first,
    ):
        opened = streams_of(first.context)
        tabs = [first, *[await first.context.new_page() for _ in range(EIGHT - 1)]]
        for tab in tabs:
            await tab.goto("/console/")
            await is_live(tab)
            await shows(tab, "No session yet")  # what comes from now on is new to the tab
        await new_session(database, redis)
        for tab in tabs:
            await shows(tab, "1 new")
        assert len(opened) == 1, "one stream for all of them"
        [leader, *others] = tabs
        await leader.close()
        await eventually(lambda: len(opened) == 2)
        await new_session(database, redis)
        for tab in others:
            await shows(tab, "2 new")
        assert len(opened) == 2


async def test_each_tab_gets_the_history_and_the_words_of_its_session(
    database: Database, database_url: str, redis: Redis, redis_url: str, browser: Browser
) -> None:
    row = await put_session(database, status=SessionStatus.ACTIVE, active_at=utc_now())
    await store_turns(database, [a_turn(row.id, 1, text="What are your hours?")])
    async with (
        served(api_settings(database_url, redis_url)) as api,
        console_page(browser, str(api.base_url)) as first,
    ):
        opened = streams_of(first.context)
        second = await first.context.new_page()
        for tab in (first, second):
            await tab.goto(f"/console/sessions/{row.id}")
            await shows(tab, "What are your hours?")
        await until_listening(redis, row.id)
        await redis.publish(captions_channel(row.id), a_caption(row.id, "We are"))
        for tab in (first, second):
            await shows(tab, "We are")
        await store_turns(database, [a_turn(row.id, 2, text="We are open.")])
        await give_hint(redis, row.id, channel=NEWS_CHANNEL)
        for tab in (first, second):
            await shows(tab, "We are open.")
        assert not [url for url in opened if "/v1/sessions/" in url], "no stream for each session"


async def test_after_a_cut_everything_is_asked_anew(
    database: Database, database_url: str, redis: Redis, redis_url: str, browser: Browser
) -> None:
    row = await put_session(database)
    async with (
        wired(database_url, redis_url) as wire,
        console_page(browser, f"http://127.0.0.1:{wire.port}") as page,
    ):
        other = await page.context.new_page()
        await other.goto("/console/")
        await is_live(other)
        await shows(other, row.participant_identity)
        await page.goto(f"/console/sessions/{row.id}")
        await is_live(page)
        wire.cut()
        await wire.drop()
        await expect(page.locator("main[data-stream=cut]")).to_be_attached()
        await new_session(database, redis)
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=1), now=utc_now())
        wire.mend()
        await is_live(page)
        await shows(other, "1 new")
        await shows(page, "The agent listens")
