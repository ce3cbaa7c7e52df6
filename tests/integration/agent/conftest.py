"""Fixtures for tests of the agent's spool."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from rollcall_agent.spool.spool import check_spool
from tests.integration.agent.spooling import Host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an agent's spools."""
    made = tmp_path / "spool"
    check_spool(made)
    return made


@pytest.fixture
def host(folder: Path, redis: Redis) -> Host:
    return Host(folder, redis)
