"""The variables that a stack is set up from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

# What a program needs of its surroundings; nothing that sets up Rollcall, LiveKit or a model.
_SURROUNDINGS: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LIVEKIT_SERVER",
    "GOPROXY",
    "GOSUMDB",
)


def user_environment(folder: Path | None = None) -> dict[str, str]:
    """Return what the user has set: the environment, and beneath it the `.env` file. Empty is unset."""
    file = dotenv_values((folder or Path.cwd()) / ".env")
    merged = {**{name: value for name, value in file.items() if value is not None}, **os.environ}
    return {name: value for name, value in merged.items() if value}


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for tests, in which nothing of the developer's own set-up shows."""
    kept = {name: os.environ[name] for name in _SURROUNDINGS if os.environ.get(name)}
    return {**kept, **(extra or {})}
