"""Random requests, generated from the OpenAPI, against the API's real process.

FULL=1 makes many more of them.
"""

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.servers import RedisServer
from services.api.app import create_app
from services.api.auth.access import Scope
from shared.contracts.sessions import SessionStatus
from shared.platform.database.database import Database
from tests.integration.api_client import KEY, NOWHERE, SECRET, api_settings
from tests.integration.rows import a_turn, put_session, store_turns
from tests.stack_fixtures.databases import DatabaseFactory
from tests.support.keys import put_key
from tests.unit.making import T0

pytest_plugins = ["schemathesis.pytest.plugin"]

ROOT = Path(__file__).parents[3]
FULL = bool(os.environ.get("FULL"))
EXAMPLES = 100 if FULL else 20

SCHEMA = schemathesis.openapi.from_dict(
    create_app(api_settings("sqlite+aiosqlite:///unused.db", "redis://127.0.0.1:1")).openapi(),
    config=SchemathesisConfig.from_dict(
        {
            "generation": {"mode": "all"},
            "checks": {
                # LiveKit is away, and says so. What no schema can say, such as that a name must be
                # printable, is told by 422, and by 400 of an Idempotency-Key.
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 503]},
                "positive_data_acceptance": {
                    "expected-statuses": ["2xx", "3xx", 400, 401, 403, 404, 409, 422, 429, 503]
                },
            },
        }
    ),
)

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not FULL,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Running:
    """The API's process, a key for all of it, and a session in it that is over."""

    url: str
    headers: dict[str, str]
    session_id: str


@pytest_asyncio.fixture(scope="module", params=["sqlite", "postgres"] if FULL else ["postgres"])
async def running(
    request: pytest.FixtureRequest,
    database_factory: DatabaseFactory,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    if request.param == "sqlite":
        database_url = await database_factory.sqlite()
    else:
        database_url = await database_factory.postgres(request.getfixturevalue("postgres_server"), "fuzz")
    database = Database(database_url)
    headers = await put_key(database, Scope.ADMIN)
    over = await put_session(database, status=SessionStatus.ENDED, ended_at=T0, expected_turns=2)
    await store_turns(database, [a_turn(over.id, 1), a_turn(over.id, 2)])
    await database.close()
    port, folder = free_port(), tmp_path_factory.mktemp("fuzz")
    spec = ProcessSpec(
        name="api",
        command=[sys.executable, "-m", "services.api"],
        env={
            **clean_environment(),
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "REDIS_URL": f"{redis_server.url.rpartition('/')[0]}/8",
            "LIVEKIT_URL": NOWHERE,
            "LIVEKIT_API_KEY": KEY,
            "LIVEKIT_API_SECRET": SECRET,
            "API_AUTH": "keys",
            "API_PORT": str(port),
            "REQUESTS_PER_MINUTE_KEY": "0",
            "REQUESTS_PER_MINUTE_PROJECT": "0",
            "REQUESTS_PER_MINUTE_BAD_KEY": "0",
            "MAX_SESSIONS_KEY": "0",
            "MAX_SESSIONS_PROJECT": "0",
        },
        cwd=folder,
        log_file=folder / "api.log",
        ready=http_ready(f"http://127.0.0.1:{port}/readyz"),
        ready_timeout_s=60,
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    try:
        yield Running(f"http://127.0.0.1:{port}", headers, over.id)
    finally:
        await process.stop()
    faults = [line for line in process.log().splitlines() if "request_failed" in line]
    assert faults == []


def validate(case: Case[Any], running: Running) -> None:
    # That check considers an unknown parameter or header wrong, which it is not.
    case.call_and_validate(
        base_url=running.url, headers=running.headers, excluded_checks=[negative_data_rejection]
    )


@SCHEMA.parametrize()
@many
def test_whatever_is_asked_the_answer_is_one_that_the_schema_names(case: Case[Any], running: Running) -> None:
    validate(case, running)


@SCHEMA.include(path_regex="session_id").parametrize()
@many
def test_whatever_is_asked_of_a_session_that_is_there(case: Case[Any], running: Running) -> None:
    if case.path_parameters:
        case.path_parameters["session_id"] = running.session_id
    validate(case, running)
