"""Fixtures for all tests: real servers, fresh databases, whole stacks. See tests/stack_fixtures."""

import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.stack_fixtures.databases import database_factory
from tests.stack_fixtures.pages import page_origin
from tests.stack_fixtures.servers import free_port, livekit_server, postgres_server, rabbitmq, redis_server
from tests.stack_fixtures.stacks import ends_of_logs, stack, start_stack

__all__ = [
    "database_factory",
    "free_port",
    "livekit_server",
    "page_origin",
    "postgres_server",
    "rabbitmq",
    "redis_server",
    "stack",
    "start_stack",
]

LONGEST_ID = 80


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, keep tests together that share a stack."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.stack_fixtures.sharing import ByStack

    return ByStack(config, log)


def pytest_collection_finish() -> None:
    """From here on collect garbage, but never check imported objects (tests/__init__.py)."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """Pytest collects garbage five times as it ends: not over everything that was imported."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last log lines of the stack's processes to the report of a failed test."""
    report = yield
    # A process that has started no stack has not loaded what starts it.
    if report.failed and (loaded := sys.modules.get("devstack.stack")) is not None:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, loaded.Stack):
                report.sections.append((f"logs of {name}", ends_of_logs(value)))
    return report


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten a long text to its beginning and length: the id is printed and set in the environment."""
    if isinstance(val, str) and len(val) > LONGEST_ID:
        return f"{val[:10].encode('unicode_escape').decode()}…{len(val)}"
    return None
