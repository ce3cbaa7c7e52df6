"""The console's pages in a browser: what they show, and what they do to the API's data."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from services.api.auth.access import Scope
from shared.contracts.causes import Cause
from shared.contracts.keys import DEAD_LETTERS_STREAM, TURNS_STREAM
from shared.contracts.workers import WorkerOrder
from shared.core.pools.traffic import read_traffic
from shared.core.webhooks.tables import WebhookDeliveryRow
from shared.core.workers.orders import read_order
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, beat_for_ever, served
from tests.integration.rows import a_turn, count, put_letter, put_session, put_webhook, store_turns
from tests.support.console import LAPTOP, PHONE, axe_violations, console_page, log_in
from tests.support.keys import bare_key
from tests.support.sessions import PATIENCE_S, until
from tests.unit.making import make_heartbeat

expect.set_options(timeout=PATIENCE_S * 1000)

PAGES: Final = (
    "now",
    "",
    "causes",
    "line",
    "canaries",
    "search?q=hours",
    "fleet",
    "webhooks",
    "dead-letters",
    "keys?over=true",
    "audit",
    "settings",
)


@dataclass
class Console:
    """A page that an admin has open, and the API behind it."""

    page: Page
    api: httpx.AsyncClient

    async def open(self, path: str, heading: str) -> None:
        await self.page.goto(f"/console/{path}")
        await expect(self.page.get_by_role("heading", name=heading, level=1, exact=True)).to_be_attached()

    async def press(self, button: str) -> None:
        """By keyboard, as every button can be."""
        await self.page.get_by_role("button", name=button, exact=True).press("Enter")


@pytest.fixture
async def console(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> AsyncIterator[Console]:
    settings = api_settings(
        database_url, redis_url, api_auth="keys", webhook_allow_private=True, webhook_allow_http=True
    )
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto("/console/")
        await log_in(page, await bare_key(database, Scope.ADMIN))
        await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
        yield Console(page, api)


async def test_a_key_is_shown_once_works_and_is_revoked(console: Console) -> None:
    page = console.page
    await console.open("keys", "Keys")
    await expect(page.get_by_text("you use it now")).to_be_visible()
    await console.press("New key")
    form = page.get_by_role("form", name="New key")
    await form.get_by_label("Name").fill("reporting")
    await form.get_by_label("viewer").check()
    await form.get_by_role("button", name="Make the key", exact=True).click()
    shown = page.get_by_role("status").filter(has_text="The key reporting")
    key = await shown.locator("code").first.inner_text()
    headers = {"Authorization": f"Bearer {key}"}
    me = (await console.api.get("/v1/me", headers=headers)).json()
    assert (me["scopes"], me["role"]) == (["sessions:read"], "viewer")
    await console.press("I have copied it")
    await expect(page.get_by_text(key)).to_have_count(0)
    row = page.get_by_role("listitem").filter(has_text="reporting")
    await expect(row).to_be_visible()
    await console.press("Revoke … reporting")
    await console.press("Yes, revoke it reporting")
    await expect(row).to_have_count(0)

    async def is_refused() -> bool:
        return (await console.api.get("/v1/me", headers=headers)).status_code == 401

    await until(is_refused, what="the revoked key is refused")
    await page.get_by_label("also those that are over").check()
    await expect(row).to_be_visible()


async def test_a_key_that_may_nothing_is_not_made(console: Console) -> None:
    await console.open("keys", "Keys")
    await console.press("New key")
    form = console.page.get_by_role("form", name="New key")
    await form.get_by_label("Name").fill("nothing")
    await form.get_by_label("program").check()
    for scope in ("sessions:read", "transcripts:read"):
        await form.get_by_label(scope).uncheck()
    await form.get_by_role("button", name="Make the key", exact=True).click()
    await expect(form.get_by_role("alert")).to_contain_text("at least one")
    publishable = form.get_by_label("publishable")
    await publishable.check()
    await form.get_by_label("Origins").fill("https://shop.example.com/path")
    await form.get_by_role("button", name="Make the key", exact=True).click()
    await expect(form.get_by_role("alert")).to_contain_text("origin")


async def test_an_endpoint_is_registered_tested_and_deleted(console: Console, database: Database) -> None:
    page, url = console.page, "http://127.0.0.1:9/hooks"
    await console.open("webhooks", "Webhooks")
    await expect(page.get_by_role("heading", name="No endpoint yet", exact=True)).to_be_visible()
    await console.press("New endpoint")
    form = page.get_by_role("form", name="New endpoint")
    await form.get_by_label("URL").fill(url)
    await form.get_by_label("Events").fill("session.faled.v1")
    await form.get_by_role("button", name="Register", exact=True).click()
    await expect(form.get_by_role("alert")).to_contain_text("events")
    await form.get_by_label("Events").fill("session.failed.v1, agent.*")
    await form.get_by_role("button", name="Register", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="whsec_")).to_be_visible()
    await console.press("I have copied it")
    await expect(page.get_by_text("whsec_")).to_have_count(0)
    await expect(page.get_by_text("session.failed.v1, agent.*")).to_be_visible()
    await console.press(f"Send a test to {url}")
    await expect(page.get_by_text("webhook.test.v1", exact=True)).to_be_visible()
    await console.press(f"Disable {url}")
    await expect(page.get_by_text("disabled", exact=True)).to_be_visible()
    await console.press(f"Delete … {url}")
    await console.press(f"Yes, delete it with its deliveries {url}")
    await expect(page.get_by_role("heading", name="No endpoint yet", exact=True)).to_be_visible()
    assert await count(database, "webhook_endpoint") == 0


async def test_a_dead_delivery_is_sent_again(console: Console, database: Database) -> None:
    ids = await put_webhook(database, project="default")
    key = (ids["endpoint_id"], ids["event_id"])
    page = console.page
    await console.open("webhooks", "Webhooks")
    await page.get_by_role("link", name="https://hooks.example.com/", exact=True).click()
    await page.get_by_label("Status").select_option("dead")
    await expect(page.get_by_text("session.failed.v1", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Send again: session.failed.v1").press("Enter")
    await expect(page.get_by_text("No delivery is dead.")).to_be_visible()
    async with database.read() as db:
        row = await db.get(WebhookDeliveryRow, key)
    assert row is not None
    assert (row.status, row.attempts) == ("pending", 0)


async def test_a_hit_opens_its_turn(console: Console, database: Database) -> None:
    session = await put_session(database)
    said = [a_turn(session.id, seq, text=f"Turn {seq} of many.") for seq in range(1, 40)]
    said.append(a_turn(session.id, 40, text="The password is swordfish, <b>really</b>."))
    await store_turns(database, said)
    page = console.page
    await console.open("search", "Search")
    words = page.get_by_label("Words")
    await words.fill("swordfish")
    await words.press("Enter")
    await expect(page.locator("mark")).to_have_text("swordfish")
    assert "q=swordfish" in page.url
    await page.get_by_role("link", name="The password is swordfish").click()
    chosen = page.locator("li[aria-current]")
    await expect(chosen).to_contain_text("<b>really</b>")
    await expect(chosen).to_be_in_viewport()
    await console.open("search?q=swordfish&role=assistant", "Search")
    await expect(page.get_by_role("heading", name="Nobody has said that", exact=True)).to_be_visible()


async def test_traffic_is_shared_and_workers_are_ordered(
    console: Console, database: Database, redis: Redis
) -> None:
    for pool in ("blue", "green"):
        await beat_for_ever(redis, make_heartbeat(f"W_{pool}", deployment=pool))
    page = console.page
    await console.open("fleet", "Fleet")
    await console.press("Share the traffic of agent")
    form = page.get_by_role("form", name="Shares of agent")
    await form.get_by_label("blue").fill("90")
    await form.get_by_label("green").fill("20")
    share = form.get_by_role("button", name="Share", exact=True)
    await expect(share).to_be_disabled()
    await form.get_by_label("green").fill("10")
    await share.press("Enter")
    await expect(page.get_by_text("90 %", exact=True)).to_be_visible()
    async with database.read() as db:
        row = await read_traffic(db, "agent")
    assert row is not None
    assert row.shares == {"blue": 90, "green": 10}
    await console.press("Share nothing … agent")
    await console.press("Yes, share nothing agent")
    await expect(page.get_by_text("Nothing is shared")).to_be_visible()
    await console.press("Cordon W_blue")
    await console.press("Drain … W_green")
    await console.press("Yes, end it after its last call W_green")

    async def are_ordered() -> bool:
        orders = [await read_order(redis, worker) for worker in ("W_blue", "W_green")]
        return orders == [WorkerOrder.CORDON, WorkerOrder.DRAIN]

    await until(are_ordered, what="both workers are ordered")


async def test_a_dead_letter_is_read_put_back_and_deleted(
    console: Console, database: Database, redis: Redis
) -> None:
    session_id = (await put_session(database)).id
    first = await put_letter(redis, session_id, text="My name is Anna.")
    second = await put_letter(redis, session_id, reason="malformed: no JSON", content={"event": "{broken"})
    page = console.page
    await console.open("dead-letters", "Dead letters")
    await page.get_by_role("link", name=first, exact=True).click()
    content = page.get_by_role("region", name=f"Content of {first}", exact=True)
    await expect(content).to_contain_text("My name is Anna.")
    assert f"letter={first}" in page.url
    await console.press(f"Put back {first}")
    await expect(page.get_by_role("link", name=first, exact=True)).to_have_count(0)
    assert await redis.xlen(TURNS_STREAM) == 1
    await page.get_by_label("Reason").fill("malformed")
    await page.get_by_label("Reason").press("Enter")
    await console.press(f"Delete … {second}")
    await console.press(f"Yes, delete it for good {second}")
    await expect(page.get_by_role("heading", name="No dead letter matches", exact=True)).to_be_visible()
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0


async def test_all_letters_that_match_are_put_back(
    console: Console, database: Database, redis: Redis
) -> None:
    session_id = (await put_session(database)).id
    for reason in ("refused", "malformed", "refused"):
        await put_letter(redis, session_id, reason=reason)
    await console.open("dead-letters?reason=refused", "Dead letters")
    await console.press("Put all that match back …")
    await console.press("Yes, put all back")
    await expect(console.page.get_by_role("heading", name="No dead letter matches")).to_be_visible()
    assert await redis.xlen(TURNS_STREAM) == 2
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 1


async def test_who_waits_is_shown_with_place_and_reason(console: Console, database: Database) -> None:
    page = console.page
    await console.open("line", "Line")
    await expect(page.get_by_role("heading", name="Nobody waits", exact=True)).to_be_visible()
    for caller in ("anna", "ben"):
        waits: dict[str, Any] = {"waiting_for": Cause.WORKERS_AT_CAPACITY, "participant_identity": caller}
        await put_session(database, **waits, deployment="blue")
    await expect(page.get_by_role("heading", name="agent, pool blue", exact=True)).to_be_visible()
    await expect(page.get_by_text("2 sessions wait, the first for")).to_be_visible()
    await page.get_by_role("link", name="ben", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Waiting")


async def test_a_canary_is_tried_from_the_page(console: Console, database: Database) -> None:
    page = console.page
    await console.open("canaries", "Canaries")
    await expect(page.get_by_role("heading", name="No canary yet", exact=True)).to_be_visible()
    form = page.get_by_role("form", name="Try now")
    await form.get_by_label("Agent").fill("shop")
    await form.get_by_role("button", name="Try now", exact=True).press("Enter")
    await expect(page.get_by_role("heading", name="The first one runs")).to_be_visible()
    await expect(page.get_by_text("shop", exact=True)).to_be_visible()
    assert await count(database, "session") == 1


async def test_pages_that_a_key_may_not_read_are_not_in_the_header(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> None:
    settings = api_settings(database_url, redis_url, api_auth="keys")
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto("/console/keys")
        key = await bare_key(database, Scope.SESSIONS_READ)
        await log_in(page, key)
        links = page.get_by_role("navigation", name="Pages").get_by_role("link")
        await expect(links).to_have_text(["Now", "Sessions", "Causes", "Line", "Canaries", "Settings"])
        await expect(page.get_by_text("Your key may not see the keys.")).to_be_visible()
        answer = await api.get("/v1/keys", headers={"Authorization": f"Bearer {key}"})
        assert_problem(answer, 403, "scope_missing")


async def test_the_audit_trail_tells_who_did_what(console: Console, database: Database) -> None:
    page = console.page
    session = await put_session(database)
    await page.goto(f"/console/sessions/{session.id}")
    await console.press("End session …")
    await console.press("Yes, end this session")
    await console.open("audit", "Audit")
    ended = page.get_by_role("listitem").filter(has_text="session.end")
    await expect(ended).to_contain_text("in the console")
    await expect(ended.get_by_role("link", name=session.id, exact=True)).to_be_visible()
    await page.get_by_label("What", exact=True).fill("console.login")
    await page.get_by_label("What", exact=True).press("Enter")
    await expect(page.get_by_role("listitem").filter(has_text="console.login")).to_have_count(1)
    await expect(ended).to_have_count(0)


async def test_settings_are_shown_and_a_trace_is_linked(
    database: Database, database_url: str, redis_url: str, browser: Browser
) -> None:
    links = {
        "grafana_url": "https://grafana.example.com/",
        "trace_url": "https://tempo.example.com/{trace_id}",
    }
    settings = api_settings(database_url, redis_url, livekit_agent_name="shop", **links)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    session = await put_session(database, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    async with served(settings) as api, console_page(browser, str(api.base_url)) as page:
        await page.goto("/console/settings")
        grafana = page.get_by_role("link", name="Dashboards in Grafana", exact=True)
        await expect(grafana).to_have_attribute("href", links["grafana_url"])
        agents = page.locator("section").filter(has_text="Agents and models")
        await expect(agents.get_by_role("definition").first).to_have_text("shop")
        await page.goto(f"/console/sessions/{session.id}")
        trace = page.get_by_role("link", name=trace_id, exact=True)
        await expect(trace).to_have_attribute("href", f"https://tempo.example.com/{trace_id}")


async def put_some_of_all(database: Database, redis: Redis) -> None:
    session = await put_session(database)
    await store_turns(database, [a_turn(session.id, 1, text="What are your hours?")])
    await put_session(database, canary=True)
    await put_session(database, waiting_for=Cause.WORKERS_AT_CAPACITY)
    await put_webhook(database, project="default")
    await put_letter(redis, session.id)
    for pool in ("blue", "green"):
        await beat_for_ever(redis, make_heartbeat(f"W_{pool}", deployment=pool))


@pytest.mark.parametrize("filled", [False, True], ids=["without data", "with data"])
async def test_every_page_is_accessible_in_both_themes(
    database: Database, database_url: str, redis: Redis, redis_url: str, browser: Browser, filled: bool
) -> None:
    if filled:
        await put_some_of_all(database, redis)
    looks = (("light", LAPTOP), ("dark", LAPTOP), ("light", PHONE), ("dark", PHONE))
    async with served(api_settings(database_url, redis_url)) as api:
        for theme, size in looks:
            async with console_page(browser, str(api.base_url), size=size, theme=theme) as page:
                for path in PAGES:
                    await page.goto(f"/console/{path}")
                    await page.locator("h1").first.wait_for(state="attached")
                    await expect(page.get_by_role("status").filter(has_text="Loading")).to_have_count(0)
                    for unfold in await page.get_by_role("button", name="New ").all():
                        await unfold.click()
                    assert await axe_violations(page) == [], (path, theme, size)
                    wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
                    assert not wide, f"{path} is wider than {size}"
