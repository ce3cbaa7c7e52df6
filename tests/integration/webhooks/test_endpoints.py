"""Webhook endpoints over the API: registered, changed, rotated, tested, and their deliveries replayed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from sqlalchemy import update

from services.api.auth import access
from services.api.webhooks import routes as webhook_endpoints
from services.api.webhooks.endpoints import MAX_ENDPOINTS
from services.webhooks.schedule import DELAYS_S
from shared.core.webhooks.tables import WebhookEndpointRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import api_settings, in_process
from tests.integration.webhooks.webhook_bench import WebhookBench, webhook_bench
from tests.support.receiver import Answer, Receiver
from tests.unit.making import FakeClock

ENDPOINTS = "/v1/webhook-endpoints"
ALLOWED = {"webhook_allow_private": True, "webhook_allow_http": True}
KEY = Fernet.generate_key().decode()


@pytest.fixture
async def api(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = api_settings(database_url, redis_url, webhook_secrets_key=KEY, **ALLOWED)
    async with in_process(settings) as client:
        yield client


@pytest.fixture
async def hooks(database: Database, redis: Redis) -> AsyncIterator[WebhookBench]:
    clock = FakeClock(utc_now() + timedelta(seconds=5))  # later than what the API writes meanwhile
    async with webhook_bench(database, redis, clock, webhook_secrets_key=KEY) as made:
        yield made


async def created(api: httpx.AsyncClient, url: str, **wish: Any) -> dict[str, Any]:
    answer = await api.post(ENDPOINTS, json={"url": url, **wish})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def deliveries(api: httpx.AsyncClient, endpoint: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = await api.get(f"{ENDPOINTS}/{endpoint['id']}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def test_an_endpoint_is_registered_and_its_secret_shown_once(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    async with Receiver() as receiver:
        wish = {"events": ["session.*", "agent.*"], "min_severity": "info", "description": "ours"}
        answer = await api.post(ENDPOINTS, json={"url": receiver.url, **wish})
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        endpoint = answer.json()
        secret = endpoint.pop("secret")
        assert secret.startswith("whsec_")
        read = (await api.get(answer.headers["location"])).json()
        listed = (await api.get(ENDPOINTS)).json()
        assert read == endpoint == listed["endpoints"][0]
        assert "whsec_" not in f"{read}{listed}"
        async with hooks.database.read() as db:
            row = await db.get(WebhookEndpointRow, endpoint["id"])
        assert row is not None
        assert row.secret.startswith("fernet:")
        await hooks.put_session()
        await hooks.collect_and_settle()
        [request] = receiver.received
        assert request.verified(secret)["type"] == "session.requested.v1"


async def test_a_test_event_goes_the_way_of_all_others(api: httpx.AsyncClient, hooks: WebhookBench) -> None:
    async with Receiver() as receiver:
        endpoint = await created(api, receiver.url, events=["session.failed.v1"])
        answer = await api.post(f"{ENDPOINTS}/{endpoint['id']}/test")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        await hooks.settle()
        [request] = receiver.received
        event = request.verified(endpoint["secret"])
        assert (event["type"], event["data"]) == ("webhook.test.v1", {"endpoint_id": endpoint["id"]})
        [delivery] = await deliveries(api, endpoint)
        assert (delivery["status"], delivery["response_code"]) == ("delivered", 200)
        assert delivery["event_id"] == request.id == answer.json()["event_id"]


async def test_a_rotated_secret_and_the_one_of_before_both_sign(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    async with Receiver() as receiver:
        endpoint = await created(api, receiver.url)
        rotated = (await api.post(f"{ENDPOINTS}/{endpoint['id']}/secret", json={"overlap_s": 3600})).json()
        await hooks.put_session()
        await hooks.collect_and_settle()
        [request] = receiver.received
        assert request.verified(endpoint["secret"]) == request.verified(rotated["secret"])
        at_once = (await api.post(f"{ENDPOINTS}/{endpoint['id']}/secret", json={"overlap_s": 0})).json()
        assert at_once["previous_secret_until"] is None
        await hooks.put_session()
        await hooks.collect_and_settle()
        signatures = receiver.received[-1].headers["webhook-signature"].split(" ")
        assert len(signatures) == 1
        receiver.received[-1].verified(at_once["secret"])


@pytest.mark.sql
async def test_dead_letters_are_listed_and_replayed_one_or_all(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    async with Receiver(always=Answer(500)) as receiver:
        endpoint = await created(api, receiver.url)
        await hooks.put_events(await hooks.put_session(), 1)
        await hooks.collect_and_settle()
        for _ in DELAYS_S:
            hooks.clock.forward(hours=11)
            await hooks.settle()
        dead = await deliveries(api, endpoint, status="dead")
        assert [delivery["attempts"] for delivery in dead] == [len(DELAYS_S) + 1] * 2
        assert await deliveries(api, endpoint, status="pending") == []
        receiver.always = Answer(204)
        path = f"{ENDPOINTS}/{endpoint['id']}"
        one = await api.post(f"{path}/deliveries/{dead[0]['event_id']}/replay")
        assert (one.status_code, one.json()["status"], one.json()["attempts"]) == (202, "pending", 0)
        await hooks.settle()
        assert receiver.ids[-1] == dead[0]["event_id"]
        none = await api.post(f"{path}/replay", json={"since": "2999-01-01T00:00:00Z"})
        assert none.json() == {"deliveries": 0}
        rest = await api.post(f"{path}/replay", json={"since": "2000-01-01T00:00:00Z"})
        assert rest.json() == {"deliveries": 1}
        await hooks.settle()
        found = await deliveries(api, endpoint)
        assert {(d["status"], d["attempts"], d["response_code"]) for d in found} == {("delivered", 1, 204)}
        again = await api.post(f"{path}/deliveries/{dead[0]['event_id']}/replay")
        assert again.status_code == 202
        await hooks.settle()
        assert receiver.ids[-1] == dead[0]["event_id"], "what was delivered can be had again, too"


async def test_deliveries_come_page_by_page(api: httpx.AsyncClient, hooks: WebhookBench) -> None:
    async with Receiver() as receiver:
        endpoint = await created(api, receiver.url)
        await hooks.put_events(await hooks.put_session(), 4)
        await hooks.collect_and_settle()
        path, pages, cursor = f"{ENDPOINTS}/{endpoint['id']}/deliveries", [], None
        while True:
            params = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
            page = (await api.get(path, params=params)).json()
            pages.append([delivery["event_id"] for delivery in page["deliveries"]])
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [len(page) for page in pages] == [2, 2, 1]
        ids = [event_id for page in pages for event_id in page]
        assert ids == sorted(set(receiver.ids), reverse=True)


async def test_a_disabled_endpoint_gets_nothing_and_enabling_begins_anew(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    async with Receiver() as receiver:
        endpoint = await created(api, receiver.url)
        path = f"{ENDPOINTS}/{endpoint['id']}"
        changed = (await api.patch(path, json={"enabled": False})).json()
        assert (changed["enabled"], changed["disabled_reason"]) == (False, "by request")
        async with hooks.database.write() as db:
            past = utc_now() - timedelta(seconds=60)
            await db.execute(update(WebhookEndpointRow).values(collects_from=past))
        hooks.clock.forward(seconds=-60)
        await hooks.put_session()
        await hooks.collect_and_settle()
        for request in ("test", "deliveries/x/replay"):
            refused = await api.post(f"{path}/{request}")
            assert (refused.status_code, refused.json()["code"]) == (409, "webhook_endpoint_disabled")
        changed = (await api.patch(path, json={"enabled": True})).json()
        assert (changed["enabled"], changed["disabled_reason"], changed["disabled_at"]) == (True, None, None)
        await hooks.collect_and_settle()
        assert receiver.received == [], "it happened while it was disabled"
        hooks.clock.forward(seconds=65)
        await hooks.put_session()
        await hooks.collect_and_settle()
        assert len(receiver.received) == 1


async def test_a_change_changes_what_it_names(api: httpx.AsyncClient) -> None:
    endpoint = await created(api, "http://127.0.0.1:9/a", events=["agent.*"], description="first")
    path = f"{ENDPOINTS}/{endpoint.pop('id')}"
    changed = (await api.patch(path, json={"url": "http://127.0.0.1:9/b", "description": None})).json()
    assert (changed["url"], changed["description"], changed["events"]) == (
        "http://127.0.0.1:9/b",
        None,
        ["agent.*"],
    )
    changed = (await api.patch(path, json={"events": ["*"], "min_severity": "critical"})).json()
    assert (changed["events"], changed["min_severity"]) == (["*"], "critical")
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404


async def test_deleting_an_endpoint_deletes_its_deliveries(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    endpoint = await created(api, "http://127.0.0.1:9/")
    await hooks.put_session()
    await hooks.collector.scan()
    assert len(await hooks.deliveries()) == 1
    assert (await api.delete(f"{ENDPOINTS}/{endpoint['id']}")).status_code == 204
    assert await hooks.deliveries() == []


async def test_an_endpoint_of_another_project_is_not_there(
    api: httpx.AsyncClient, hooks: WebhookBench
) -> None:
    theirs = await hooks.put_endpoint("http://127.0.0.1:9/", project="other")
    await hooks.put_session(project="other")
    await hooks.collector.scan()
    [delivery] = await hooks.deliveries()
    assert (await api.get(ENDPOINTS)).json() == {"endpoints": []}
    path = f"{ENDPOINTS}/{theirs.id}"
    answers = [
        await api.get(path),
        await api.patch(path, json={"enabled": False}),
        await api.delete(path),
        await api.post(f"{path}/secret"),
        await api.post(f"{path}/test"),
        await api.get(f"{path}/deliveries"),
        await api.post(f"{path}/deliveries/{delivery.event_id}/replay"),
        await api.post(f"{path}/replay", json={"since": "2000-01-01T00:00:00Z"}),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["code"] for answer in answers} == {"webhook_endpoint_not_found"}
    assert (await hooks.endpoint(theirs)) == theirs


def test_all_of_it_takes_the_scope_of_an_administrator() -> None:
    [admin] = access.Admin.__metadata__  # type: ignore[attr-defined]
    routes: list[Any] = list(webhook_endpoints.router.routes)
    assert len(routes) == 10
    for route in routes:
        assert admin.dependency in {needed.call for needed in route.dependant.dependencies}, route.path


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "url"),
        ({"url": "https://example.com/", "events": []}, "events"),
        ({"url": "https://example.com/", "events": ["agnet.*"]}, "events"),
        ({"url": "https://example.com/", "events": ["transcript.*"]}, "events"),
        ({"url": "https://example.com/", "min_severity": "loud"}, "min_severity"),
        ({"url": "https://example.com/", "secret": "whsec_AAAA"}, "secret"),
        ({"url": "https://example.com/", "description": "a\x00b"}, "description"),
    ],
)
async def test_a_wish_that_means_nothing_is_refused(
    api: httpx.AsyncClient, wish: dict[str, Any], field: str
) -> None:
    answer = await api.post(ENDPOINTS, json=wish)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


async def test_a_project_has_so_many_endpoints_at_most(api: httpx.AsyncClient, hooks: WebhookBench) -> None:
    for _ in range(MAX_ENDPOINTS):
        await hooks.put_endpoint("http://127.0.0.1:9/")
    answer = await api.post(ENDPOINTS, json={"url": "http://127.0.0.1:9/"})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhook_endpoints")


async def test_where_webhooks_may_not_go_is_told_when_an_endpoint_is_registered(
    sqlite_url: str, redis_url: str, database: Database
) -> None:
    async with in_process(api_settings(sqlite_url, redis_url)) as api:
        for url in (
            "http://example.com/",
            "https://127.0.0.1/",
            "https://localhost/",
            "https://2130706433/",
            "https://[::ffff:10.0.0.1]/",
            "https://user:word@example.com/",
        ):
            answer = await api.post(ENDPOINTS, json={"url": url})
            assert (answer.status_code, answer.json()["code"]) == (422, "webhook_target_forbidden")
            assert answer.json()["errors"][0]["field"] == "url"
        assert (await api.get(ENDPOINTS)).json() == {"endpoints": []}


async def test_a_change_may_not_lead_there_either(
    sqlite_url: str, redis_url: str, hooks: WebhookBench
) -> None:
    row = await hooks.put_endpoint("https://example.com/")
    async with in_process(
        api_settings(str(hooks.database.engine.url.render_as_string(False)), redis_url)
    ) as api:
        answer = await api.patch(f"{ENDPOINTS}/{row.id}", json={"url": "https://169.254.169.254/latest"})
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_target_forbidden")
        assert (await hooks.endpoint(row)).url == "https://example.com/"
