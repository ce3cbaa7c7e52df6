"""While its database refuses, the API answers 503 with Retry-After, and tells the operator what to fix."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import make_url

from devstack.provision.postgres import PostgresServer
from shared.platform.database.errors import Kind
from tests.integration.api_client import api_settings, assert_problem, in_process
from tests.support.clerks import Clerk, a_clerk
from tests.support.sessions import until

LOGIN = "ALTER ROLE {clerk}"
# What breaks it, what repairs it, the reported SQLSTATE, and the kind of fault.
FAULTS = {
    "no login": (f"{LOGIN} NOLOGIN", f"{LOGIN} LOGIN", "28000", Kind.DEPLOYMENT),
    "too many connections": (
        f"{LOGIN} CONNECTION LIMIT 0",
        f"{LOGIN} CONNECTION LIMIT -1",
        "53300",
        Kind.TRANSIENT,
    ),
    "a standby": (
        f"{LOGIN} SET default_transaction_read_only = on",
        f"{LOGIN} RESET default_transaction_read_only",
        "25006",
        Kind.TRANSIENT,
    ),
    "missing right": (
        "REVOKE INSERT ON session FROM {clerk}",
        "GRANT INSERT ON session TO {clerk}",
        "42501",
        Kind.DEPLOYMENT,
    ),
    "missing column": (
        "ALTER TABLE session RENAME COLUMN agent_name TO gone",
        "ALTER TABLE session RENAME COLUMN gone TO agent_name",
        "session.agent_name",
        Kind.DEPLOYMENT,
    ),
}
CODES = {Kind.TRANSIENT: "database_unavailable", Kind.DEPLOYMENT: "database_unfit"}


@pytest.fixture
async def clerk(postgres_server: PostgresServer, postgres_url: str) -> AsyncIterator[Clerk]:
    async with a_clerk(postgres_server, str(make_url(postgres_url).database)) as made:
        yield made


def failures(kind: Kind) -> float:
    """Of sessions of either sort."""
    samples = [
        REGISTRY.get_sample_value("database_failures_total", {"kind": each, "fault": kind})
        for each in ("read", "write")
    ]
    return sum(sample or 0.0 for sample in samples)


@pytest.mark.parametrize("at_start", [True, False], ids=["from the start", "later"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_the_database_refuses_is_a_503_that_is_counted_and_told(
    clerk: Clerk, redis_url: str, fault: str, at_start: bool
) -> None:
    breaks, mends, told, kind = FAULTS[fault]
    password = make_url(clerk.url).password or ""

    async def ready() -> bool:
        return (await client.get("/readyz")).status_code == 200

    async def says() -> bool:
        assert (await client.post("/v1/sessions")).status_code == 503
        return told in (await client.get("/readyz")).text

    async def starts() -> bool:
        return (await client.post("/v1/sessions")).status_code == 202

    async with in_process(api_settings(clerk.url, redis_url)) as client:
        if not at_start:
            assert (await client.post("/v1/sessions")).status_code == 202
        await clerk.alter(breaks)
        try:
            await clerk.cut_off()
            before = failures(kind)
            # The first may only tell that its connection was cut off.
            await until(says, what=f"it says {told}", timeout_s=60)
            answer = await client.post("/v1/sessions")
            body = assert_problem(answer, 503, CODES[kind])
            assert int(answer.headers["retry-after"]) > 0
            assert failures(kind) > before
            probe = await client.get("/readyz")
            assert probe.status_code == 503
            for text in (str(body), probe.text):
                assert password not in text
            assert told not in str(body), "what the database says is the operator's"
        finally:
            await clerk.alter(mends)
        await until(starts, what="it goes on by itself", timeout_s=60)
        await until(ready, what="it is ready again", timeout_s=60)


async def test_what_is_missing_is_told_before_anybody_asks_for_it(clerk: Clerk, redis_url: str) -> None:
    async with in_process(api_settings(clerk.url, redis_url)) as client:
        assert (await client.get("/readyz")).status_code == 200
        await clerk.alter("ALTER TABLE webhook_delivery RENAME COLUMN attempts TO tries")
        try:
            told: httpx.Response = await client.get("/readyz")
            assert told.status_code == 503
            assert "webhook_delivery.attempts" in told.json()["output"]
        finally:
            await clerk.alter("ALTER TABLE webhook_delivery RENAME COLUMN tries TO attempts")
        assert (await client.get("/readyz")).status_code == 200


async def test_a_row_that_is_refused_is_one_requests_fault(clerk: Clerk, redis_url: str) -> None:
    async with in_process(api_settings(clerk.url, redis_url)) as client:
        await clerk.alter("ALTER TABLE session ADD CONSTRAINT never CHECK (room_name <> 'never')")
        try:
            refused = await client.post("/v1/sessions", json={"room_name": "never"})
            assert_problem(refused, 500, "internal_error")
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.post("/v1/sessions")).status_code == 202
        finally:
            await clerk.alter("ALTER TABLE session DROP CONSTRAINT never")
