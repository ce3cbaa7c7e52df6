"""Workers say so if the LiveKit server drops what Rollcall orders."""

import pytest

from rollcall_agent.worker.server_version import is_too_old


@pytest.mark.parametrize("version", ["1.9.11", "1.11.0", "v1.12.3", "0.15"])
def test_servers_that_drop_attributes_are_too_old(version: str) -> None:
    assert is_too_old(version)


@pytest.mark.parametrize("version", ["1.13.5", "v1.13.0-rc1", "2.0", "", "cloud"])
def test_newer_and_unknown_servers_are_not(version: str) -> None:
    assert not is_too_old(version)
