"""A stack of one Redis: it has its folder for itself, and leaves nothing in the way of the next one."""

import json
from pathlib import Path
from typing import Any

import pytest

from devstack.environment import clean_environment
from devstack.provision.server import ProvisionError
from devstack.stack import Stack
from devstack.state import running_api_url

_CLOUD = {
    "LIVEKIT_URL": "wss://example.livekit.cloud",
    "LIVEKIT_API_KEY": "APIkey",
    "LIVEKIT_API_SECRET": "secret",
}


async def test_one_folder_one_stack(tmp_path: Path) -> None:
    options: dict[str, Any] = {"env": clean_environment(_CLOUD), "services": ()}
    async with Stack(tmp_path, **options) as stack:
        assert stack.process("redis").pid is not None
        assert json.loads((tmp_path / "stack.json").read_text())["api_url"] is None
        assert running_api_url(tmp_path) is None
        with pytest.raises(ProvisionError, match="another stack runs"):
            async with Stack(tmp_path, **options):
                pass
    assert stack.process("redis").pid is None
    assert not (tmp_path / "stack.json").exists()
    async with Stack(tmp_path, **options):  # what the first left behind is no obstacle
        pass
