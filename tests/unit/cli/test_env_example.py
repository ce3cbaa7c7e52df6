"""The example of .env explains every variable that a service reads, and no other."""

import importlib
import inspect
import re
from pathlib import Path

from pydantic_settings import BaseSettings

from devstack.services import ALL_SERVICES

_ROOT = Path(__file__).parents[3]
# Read by `rollcall` itself.
_OF_THE_COMMAND_LINE = {"LIVEKIT_SERVER", "ROLLCALL_URL", "ROLLCALL_API_KEY"}


def _variables() -> set[str]:
    found: set[str] = set()
    for service in ALL_SERVICES:
        module = importlib.import_module(f"services.{service}.settings")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, BaseSettings) and value.__module__ == module.__name__:
                found |= {name.upper() for name in value.model_fields}
    return found


def test_every_variable_is_in_the_example_and_is_explained() -> None:
    lines = (_ROOT / ".env.example").read_text().splitlines()
    names = [match[1] for line in lines if (match := re.match(r"#([A-Z][A-Z0-9_]+)=", line))]
    assert len(names) == len(set(names))
    assert set(names) == _variables() | _OF_THE_COMMAND_LINE


def test_the_example_sets_nothing() -> None:
    lines = (_ROOT / ".env.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
