"""The public names in the code: `python -m tests.contracts.public_names` writes public_names.json."""

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import SecretStr

from cli.main import app
from deploy.grafana.catalogue import read_catalogue
from devstack.services import ALL_SERVICES
from services.api.app import create_app
from services.api.errors.catalogue import CATALOGUE
from services.api.settings import ApiSettings
from shared.contracts import keys
from shared.contracts.causes import Cause
from shared.contracts.events import EVENT_TYPES
from shared.contracts.sessions import SessionStatus
from shared.contracts.settings import Settings
from tools.log_docs import read_calls

FILE: Final = Path(__file__).with_name("public_names.json")


def read_names() -> dict[str, list[str]]:
    """Return the names by kind, as the code has them now; each list is sorted."""
    schema = _openapi()
    found = {
        "routes": set(_routes(schema)),
        "fields": set(_fields(schema)),
        "events": {f"{name}: {field}" for name, model in EVENT_TYPES.items() for field in model.model_fields},
        "errors": set(CATALOGUE),
        "causes": {str(cause) for cause in Cause},
        "statuses": {str(status) for status in SessionStatus},
        "metrics": {f"{metric.name}{{{','.join(metric.labels)}}}" for metric in read_catalogue()},
        "log lines": {call.event for call in read_calls() if call.event},
        "settings": set(_settings()),
        "commands": set(_options(typer.main.get_command(app), ("rollcall",))),
        "redis and queues": {
            value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)
        },
    }
    return {kind: sorted(names) for kind, names in found.items()}


def _openapi() -> dict[str, Any]:
    settings = ApiSettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key="devkey",
        livekit_api_secret=SecretStr("a-secret-of-thirty-two-characters"),
    )
    return create_app(settings).openapi()


def _routes(schema: dict[str, Any]) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            yield f"{method.upper()} {path} ({route['operationId']})"
            for parameter in route.get("parameters", ()):
                yield f"{method.upper()} {path} {parameter['in']}: {parameter['name']}"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    for name, model in schema["components"]["schemas"].items():
        for field in model.get("properties", {}):
            yield f"{name}.{field}"


def _settings() -> Iterator[str]:
    for service in ALL_SERVICES:
        module = importlib.import_module(f"services.{service}.settings")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Settings) and value.__module__ == module.__name__:
                yield from (f"{service}: {name.upper()}" for name in value.model_fields)


def _options(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    for parameter in command.params:
        yield " ".join((*path, *parameter.opts))
    for name, each in getattr(command, "commands", {}).items():
        yield " ".join((*path, name))
        yield from _options(each, (*path, name))


if __name__ == "__main__":
    FILE.write_text(json.dumps(read_names(), indent=1) + "\n", encoding="utf-8")
