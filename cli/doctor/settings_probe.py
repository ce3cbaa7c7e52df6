"""Read the services' settings as the services do, in a separate process, and print the faults as JSON.

`python -m cli.doctor.settings_probe api agent`. It prints no values, except the agent's models.
"""

import importlib
import inspect
import json
import sys
from typing import Any

from pydantic import ValidationError

from shared.contracts.settings import Settings


def probe(services: list[str]) -> dict[str, Any]:
    """Return for each service its variables and faults, and the models that agents use."""
    found: dict[str, Any] = {"faults": [], "variables": [], "models": {}}
    for service in services:
        for kind in _settings_of(service):
            found["variables"] += [name.upper() for name in kind.model_fields]
            try:
                read = kind()
            except ValidationError as invalid:
                found["faults"] += [_told(service, fault) for fault in _errors(invalid)]
                continue
            models = getattr(read, "default_models", None)
            if models is not None:
                found["models"] = models.model_dump(exclude_none=True)
    return found


def _settings_of(service: str) -> list[type[Settings]]:
    module = importlib.import_module(f"services.{service}.settings")
    members = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    return [kind for kind in members if issubclass(kind, Settings) and kind.__module__ == module.__name__]


def _errors(invalid: ValidationError) -> list[Any]:
    # Never the input: it may be a secret.
    return list(invalid.errors(include_input=False, include_url=False, include_context=False))


def _told(service: str, fault: Any) -> dict[str, str]:
    variable = str(fault["loc"][0]).upper() if fault["loc"] else "settings"
    problem = "missing" if fault["type"] == "missing" else f"malformed: {fault['msg']}"
    return {"service": service, "variable": variable, "problem": problem}


if __name__ == "__main__":
    json.dump(probe(sys.argv[1:]), sys.stdout)
