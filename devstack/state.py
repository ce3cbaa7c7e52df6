"""What a running local stack leaves in its state folder, for the other commands."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

STACK_FILE: Final = "stack.json"
# Where the parts of a stack are, and the keys for them: what its services were told.
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
    """Say where this stack is; for this user's eyes, since it holds LiveKit's secret."""
    told = {name: env[name] for name in _TOLD if name in env}
    file = state / STACK_FILE
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(json.dumps({"pid": os.getpid(), "api_url": api_url, "env": told}))


def running_api_url(state: Path) -> str | None:
    """Where the API of the stack in this folder listens; None if none runs."""
    url = _read(state).get("api_url")
    return url if isinstance(url, str) else None


def running_stack_env(state: Path) -> dict[str, str]:
    """What the services of the stack in this folder were told; empty if none runs."""
    told = _read(state).get("env")
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _read(state: Path) -> dict[str, Any]:
    try:
        found = json.loads((state / STACK_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
