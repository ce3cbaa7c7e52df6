"""The environment variables from which a stack is set up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

# Variables that every program needs; none of them configures Rollcall, LiveKit or a model.
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
    """Return the user's variables: the environment, then the `.env` file. Empty means unset."""
    file = dotenv_values((folder or Path.cwd()) / ".env")
    merged = {**{name: value for name, value in file.items() if value is not None}, **os.environ}
    return {name: value for name, value in merged.items() if value}


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for tests, without any of the developer's own settings."""
    kept = {name: os.environ[name] for name in _SURROUNDINGS if os.environ.get(name)}
    return {**kept, **(extra or {})}
