"""How a browser gets into the console, and what its cookie may do."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import select, update

from services.api.auth.access import DEFAULT_PROJECT, Scope
from services.api.auth.key_format import Kind
from services.api.console.cookies import CONSOLE_HEADER, LOOPBACK_COOKIE, SECURE_COOKIE
from services.api.console.logins import IDLE, LONGEST
from services.api.growth import Growth
from services.api.keys.manage import revoke_key
from services.api.settings import ApiSettings
from shared.core.api_keys.tables import ConsoleLoginRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.support.keys import id_in, put_key
from tests.support.sessions import until

# How many bad keys one address may send in a minute.
FEW = 5
HERE = "http://localhost:8080"
# What the console's own page sends with each request.
OURS = {CONSOLE_HEADER: "1", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(database_url: str, redis_url: str) -> ApiSettings:
    return api_settings(database_url, redis_url, api_auth="keys", requests_per_minute_bad_key=FEW)


@pytest.fixture
async def browser(settings: ApiSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies, as a browser does."""
    async with in_process(settings) as client:
        client.base_url = httpx.URL(HERE)
        yield client


async def log_in(
    browser: httpx.AsyncClient, database: Database, *scopes: Scope, project: str = DEFAULT_PROJECT
) -> dict[str, str]:
    key = await put_key(database, *(scopes or (Scope.ADMIN,)), project=project)
    answer = await browser.post("/v1/login", headers={**key, **OURS})
    assert answer.status_code == 200, answer.text
    return key


async def logins(database: Database) -> list[ConsoleLoginRow]:
    async with database.read() as db:
        return list(await db.scalars(select(ConsoleLoginRow)))


async def backdate(database: Database, **columns: timedelta) -> None:
    async with database.write() as db:
        past = {name: utc_now() - age for name, age in columns.items()}
        await db.execute(update(ConsoleLoginRow).values(**past))


async def test_a_key_is_exchanged_for_a_cookie_that_reads_what_the_key_may(
    browser: httpx.AsyncClient, database: Database
) -> None:
    assert_problem(await browser.get("/v1/me"), 401, "key_missing")
    key = await log_in(browser, database, Scope.SESSIONS_READ, project="shop")
    me = (await browser.get("/v1/me")).json()
    assert me == {
        "auth": "keys",
        "project": "shop",
        "scopes": ["sessions:read"],
        "role": "viewer",
        "key_id": id_in(key),
        "logged_in": True,
        "version": me["version"],
    }
    assert (await browser.get("/v1/sessions")).status_code == 200
    assert_problem(await browser.get("/v1/transcripts/search?q=hello"), 403, "scope_missing")
    assert_problem(await browser.get("/v1/keys"), 403, "scope_missing")


async def test_the_cookie_is_kept_from_scripts_and_only_its_hash_is_stored(
    browser: httpx.AsyncClient, database: Database
) -> None:
    key = await put_key(database, Scope.SESSIONS_READ)
    answer = await browser.post("/v1/login", headers=key)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{LOOPBACK_COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert answer.headers["cache-control"] == "no-store"
    value = browser.cookies[LOOPBACK_COOKIE]
    assert len(value) >= 43, "256 bits"
    (row,) = await logins(database)
    assert value not in repr(row.model_dump())
    assert key["Authorization"].removeprefix("Bearer ") not in repr(row.model_dump()) + cookie


async def test_by_https_the_cookie_is_bound_to_its_host(
    browser: httpx.AsyncClient, database: Database
) -> None:
    key = await put_key(database, Scope.SESSIONS_READ)
    # A proxy has taken the TLS off; the browser's own word is what counts.
    proxied = {"Host": "calls.example.com", "Origin": "https://calls.example.com"}
    answer = await browser.post("/v1/login", headers={**key, **proxied})
    name, _, value = answer.headers["set-cookie"].partition("; ")[0].partition("=")
    assert name == SECURE_COOKIE
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; "))
    assert "Domain" not in answer.headers["set-cookie"]
    browser.cookies.clear()
    secured = {"Host": "calls.example.com", "Cookie": f"{SECURE_COOKIE}={value}"}
    assert (await browser.get("/v1/me", headers=secured)).status_code == 200
    # Others of the domain could plant a cookie without the prefix.
    planted = {"Host": "calls.example.com", "Cookie": f"{LOOPBACK_COOKIE}={value}"}
    assert_problem(await browser.get("/v1/me", headers=planted), 401, "key_missing")


async def test_on_plain_http_only_this_machine_logs_in(
    browser: httpx.AsyncClient, database: Database
) -> None:
    key = await put_key(database, Scope.SESSIONS_READ)
    answer = await browser.post("/v1/login", headers={**key, "Host": "calls.example.com"})
    assert_problem(answer, 400, "https_needed")
    assert "set-cookie" not in answer.headers
    assert await logins(database) == []


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {CONSOLE_HEADER: "1", "Sec-Fetch-Site": "cross-site"},
        {CONSOLE_HEADER: "1", "Sec-Fetch-Site": "same-site", "Origin": HERE},
        {CONSOLE_HEADER: "1", "Origin": "https://evil.example.com"},
        {CONSOLE_HEADER: "1", "Origin": "null"},
        {CONSOLE_HEADER: "1"},
    ],
    ids=str,
)
async def test_another_page_changes_nothing_with_the_cookie(
    browser: httpx.AsyncClient, database: Database, sent: dict[str, str]
) -> None:
    await log_in(browser, database)
    assert_problem(await browser.post("/v1/sessions", json={}, headers=sent), 403, "not_from_console")
    assert (await browser.get("/v1/sessions")).json()["sessions"] == []


@pytest.mark.parametrize("sent", [OURS, {CONSOLE_HEADER: "1", "Origin": HERE}], ids=str)
async def test_the_consoles_own_page_changes_what_the_key_may(
    browser: httpx.AsyncClient, database: Database, sent: dict[str, str]
) -> None:
    await log_in(browser, database)
    assert (await browser.post("/v1/sessions", json={}, headers=sent)).status_code == 202


async def test_a_logout_ends_the_cookie_everywhere(browser: httpx.AsyncClient, database: Database) -> None:
    await log_in(browser, database)
    stolen = browser.cookies[LOOPBACK_COOKIE]
    answer = await browser.post("/v1/logout", headers=OURS)
    assert answer.status_code == 204
    assert LOOPBACK_COOKIE not in browser.cookies
    assert await logins(database) == []
    with_it = {"Cookie": f"{LOOPBACK_COOKIE}={stolen}"}
    assert_problem(await browser.get("/v1/me", headers=with_it), 401, "login_over")


async def test_a_login_ends_with_its_key(
    browser: httpx.AsyncClient, database: Database, settings: ApiSettings
) -> None:
    key = await log_in(browser, database)
    await revoke_key(database, id_in(key), now=utc_now)
    # The key's row is remembered for two seconds; another process has not seen it.
    async with in_process(settings) as another:
        another.base_url, another.cookies = browser.base_url, browser.cookies
        assert_problem(await another.get("/v1/me"), 401, "key_revoked")


AGES = pytest.mark.parametrize(
    "aged",
    [{"last_used_at": IDLE}, {"created_at": LONGEST, "last_used_at": timedelta()}],
    ids=["idle", "old"],
)


@AGES
async def test_a_login_ends_by_its_age_and_is_deleted(
    browser: httpx.AsyncClient,
    database: Database,
    redis: Redis,
    settings: ApiSettings,
    aged: dict[str, timedelta],
) -> None:
    await log_in(browser, database)
    await backdate(database, **aged)
    assert_problem(await browser.get("/v1/me"), 401, "login_over")
    growth = Growth(database=database, redis=redis, settings=settings, holder="test", now=utc_now)
    await growth.delete_logins()  # the API's own loop may have been sooner
    assert await logins(database) == []


@AGES
async def test_a_login_lasts_until_that_age(
    browser: httpx.AsyncClient, database: Database, aged: dict[str, timedelta]
) -> None:
    await log_in(browser, database)
    await backdate(database, **{name: age - timedelta(minutes=5) for name, age in aged.items()})
    assert (await browser.get("/v1/me")).status_code == 200


async def test_a_login_that_is_used_goes_on(
    browser: httpx.AsyncClient, database: Database, redis: Redis, settings: ApiSettings
) -> None:
    await log_in(browser, database)
    await backdate(database, last_used_at=IDLE / 2)
    assert (await browser.get("/v1/me")).status_code == 200

    async def is_noted() -> bool:
        (row,) = await logins(database)
        return utc_now() - row.last_used_at < IDLE / 4

    await until(is_noted, what="the use of the login is noted")
    growth = Growth(database=database, redis=redis, settings=settings, holder="test", now=utc_now)
    assert await growth.delete_logins() == 0


async def test_a_cookie_is_not_exchanged_for_a_younger_one(
    browser: httpx.AsyncClient, database: Database
) -> None:
    await log_in(browser, database)
    assert_problem(await browser.post("/v1/login", headers=OURS), 409, "login_not_needed")
    assert len(await logins(database)) == 1


async def test_a_key_of_a_web_page_opens_no_console(browser: httpx.AsyncClient, database: Database) -> None:
    key = await put_key(database, kind=Kind.PUBLISHABLE, origins=(HERE,))
    answer = await browser.post("/v1/login", headers={**key, "Origin": HERE})
    assert_problem(answer, 403, "scope_missing")
    assert await logins(database) == []


async def test_guessed_cookies_are_counted_as_bad_keys(
    browser: httpx.AsyncClient, database: Database
) -> None:
    await log_in(browser, database)
    guess = {"Cookie": f"{LOOPBACK_COOKIE}={'a' * 43}"}
    known = {"Cookie": f"{LOOPBACK_COOKIE}={browser.cookies[LOOPBACK_COOKIE]}"}
    browser.cookies.clear()
    assert (await browser.get("/v1/me", headers=known)).status_code == 200
    for _ in range(FEW):
        assert_problem(await browser.get("/v1/me", headers=guess), 401, "login_over")
    assert_problem(await browser.get("/v1/me", headers=guess), 429, "too_many_requests")
    assert (await browser.get("/v1/me", headers=known)).status_code == 200, "who was let in stays in"


async def test_without_keys_nobody_logs_in(database_url: str, redis_url: str) -> None:
    async with in_process(api_settings(database_url, redis_url)) as client:
        me = (await client.get("/v1/me")).json()
        assert (me["auth"], me["key_id"], me["logged_in"]) == ("off", None, False)
        assert_problem(await client.post("/v1/login"), 409, "login_not_needed")
        assert (await client.post("/v1/logout")).status_code == 204
