"""The file that a running local stack leaves in its state folder for other commands."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

STACK_FILE: Final = "stack.json"
# The variables of the stack's services: the addresses of its parts, and their keys.
_TOLD: Final = (
    "LIVEKIT_URL",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "LIVEKIT_INFERENCE_URL",
    "LIVEKIT_AGENT_NAME",
    "REDIS_URL",
    "DATABASE_URL",
)


def write_stack_file(state: Path, *, api_url: str | None, env: Mapping[str, str]) -> None:
    """Write the stack's addresses. Only this user can read the file, since it holds LiveKit's secret."""
    told = {name: env[name] for name in _TOLD if name in env}
    file = state / STACK_FILE
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(json.dumps({"pid": os.getpid(), "api_url": api_url, "env": told}))


def running_api_url(state: Path) -> str | None:
    """Return the API's address of the stack in this folder; None if no stack runs."""
    url = _read(state).get("api_url")
    return url if isinstance(url, str) else None


def running_stack_env(state: Path) -> dict[str, str]:
    """Return the variables of the stack's services in this folder; empty if no stack runs."""
    told = _read(state).get("env")
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _read(state: Path) -> dict[str, Any]:
    try:
        found = json.loads((state / STACK_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
