"""The doctor's checks of real servers, and of both kinds of database."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from livekit import api
from redis.asyncio import Redis
from sqlalchemy import text

from cli.doctor import livekit
from cli.doctor.agents import check_agents
from cli.doctor.database import check_database
from cli.doctor.findings import Finding
from cli.doctor.redis import check_redis
from cli.doctor.surroundings import Surroundings
from cli.doctor.webhook import check_arrivals
from devstack.process import Process
from devstack.servers import LiveKitServer
from devstack.services import REPOSITORY
from shared.core.livekit.tables import WebhookReceiptRow
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.rows import put_session

pytestmark = pytest.mark.sql

SECRET = "a-secret-of-thirty-two-characters"


def surroundings(folder: Path, **env: str) -> Surroundings:
    file = folder / "deployment.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in env.items()))
    return Surroundings.of_file(file)


def statuses(found: "list[Finding] | tuple[Finding, ...]") -> dict[str, str]:
    return {one.check: one.status.value for one in found}


async def test_a_token_of_another_time_is_not_taken_for_a_wrong_secret(
    livekit_server: LiveKitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = surroundings(
        tmp_path,
        LIVEKIT_URL=livekit_server.url,
        LIVEKIT_API_KEY=livekit_server.api_key,
        LIVEKIT_API_SECRET=livekit_server.api_secret,
    )
    assert statuses(list(await livekit.check_livekit(here))) == {"livekit": "pass", "clock": "pass"}

    def expired(_: object) -> str:
        token = api.AccessToken(livekit_server.api_key, livekit_server.api_secret)
        return str(token.with_grants(api.VideoGrants(room_list=True)).with_ttl(timedelta(hours=-1)).to_jwt())

    monkeypatch.setattr(livekit, "_token", expired)
    refused, _ = await livekit.check_livekit(here)
    assert (refused.status, "refuses the token's time" in refused.evidence) == ("fail", True)


async def test_a_redis_that_forgets_is_found(own_redis: tuple[str, Process], tmp_path: Path) -> None:
    url, _ = own_redis
    here = surroundings(tmp_path, REDIS_URL=url)
    well = {"redis": "pass", "redis: kept": "pass", "redis: memory": "pass"}
    assert statuses(list(await check_redis(here))) == well
    async with Redis.from_url(url) as redis:
        await redis.config_set("appendonly", "no")
        await redis.config_set("maxmemory", "100mb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    found = await check_redis(here)
    assert statuses(list(found)) == {**well, "redis: kept": "warn", "redis: memory": "fail"}
    assert [one.fix for one in found[1:]] == ["set appendonly yes", "set maxmemory-policy noeviction"]


async def test_a_schema_of_another_revision_is_found(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    here = surroundings(tmp_path, DATABASE_URL=database_url)
    found = await check_database(here)
    assert statuses(list(found)) == {"database": "pass", "migrations": "pass"}
    assert ("SQLite" if database.is_sqlite else "PostgreSQL") in found[0].evidence
    async with database.write() as db:
        [[revision]] = await db.execute(text("SELECT version_num FROM alembic_version"))
        await db.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        _, schema = await check_database(here)
    finally:
        async with database.write() as db:
            restore = text("UPDATE alembic_version SET version_num = :revision")
            await db.execute(restore, {"revision": revision})
    assert schema.status == "fail"
    assert schema.fix is not None
    assert "shared.core.migrate" in schema.fix


async def test_webhooks_that_never_came_are_found(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    here = surroundings(tmp_path, DATABASE_URL=database_url)

    async def arrivals() -> str:
        [found] = await check_arrivals(here, "http://api/v1/livekit/webhook")
        return found.status.value

    assert await arrivals() == "skip"
    await put_session(database, active_at=utc_now())
    assert await arrivals() == "warn"
    async with database.write() as db:
        db.add(WebhookReceiptRow(id="EV_1", event="room_started", room_name="r", received_at=utc_now()))
    assert await arrivals() == "pass"


async def test_an_unmodified_agent_is_found_with_the_two_lines_that_give_it_the_rest(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    here = surroundings(tmp_path, DATABASE_URL=database_url)

    async def found() -> Finding:
        [one] = await check_agents(here)
        return one

    assert (await found()).status == "skip"
    now = utc_now()
    reporting = {"active_at": now, "reported_at": now}
    await put_session(database, room_name="room-1", agent_name="modified", attempt=reporting)
    assert (await found()).status == "pass"
    await put_session(database, room_name="room-2", agent_name="shop", attempt={"active_at": now})
    await put_session(database, room_name="room-3", agent_name="absent", attempt={})
    warning = await found()
    assert warning.status == "warn"
    assert warning.evidence.startswith("shop: the agent joins, and reports nothing.")
    assert warning.fix is not None
    assert "from rollcall_agent import Rollcall" in warning.fix
    assert "rollcall = Rollcall(server)" in warning.fix


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield listening.getsockname()[1]


def test_servers_that_never_answer_keep_nobody_waiting(tmp_path: Path) -> None:
    with silent_server() as port:
        surroundings(
            tmp_path,
            LIVEKIT_URL=f"ws://127.0.0.1:{port}",
            LIVEKIT_API_KEY="k",
            LIVEKIT_API_SECRET=SECRET,
            LIVEKIT_INFERENCE_URL=f"http://127.0.0.1:{port}",
            REDIS_URL=f"redis://:hunter2@127.0.0.1:{port}/0",
            DATABASE_URL=f"postgresql://rollcall:hunter2@127.0.0.1:{port}/rollcall",
            ROLLCALL_URL=f"http://127.0.0.1:{port}",
        )
        done = subprocess.run(
            [
                *[sys.executable, "-m", "cli.main", "doctor", "--json", "--timeout", "1"],
                *["--env-file", str(tmp_path / "deployment.env")],
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    statuses = {one["check"]: one["status"] for one in json.loads(done.stdout)["checks"]}
    for check in ("livekit", "redis", "broker", "database", "inference", "api", "webhook"):
        assert statuses[check] == "fail", statuses
    assert "hunter2" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
