"""docker-compose.yml as Compose reads it: each service, and the variables that it is given."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-((?:[^${}]|\$\{[^}]*\})*))?\}")


def filled_in(text: str, env: Mapping[str, str]) -> str:
    """A value as Compose makes it; a default may have a variable in it."""
    while match := _VARIABLE.search(text):
        value = env.get(match[1]) or match[2] or ""
        text = text[: match.start()] + value + text[match.end() :]
    return text


def environment_of(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What Compose gives to a service where `.env` has this."""
    given: dict[str, str | None] = SERVICES[service].get("environment", {})
    made = {name: env.get(name) if value is None else filled_in(value, env) for name, value in given.items()}
    return {name: value for name, value in made.items() if value is not None}
