"""The JSON schemas of the events, as they are sent."""

import inspect
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from shared.contracts.events import EVENT_TYPES, Envelope, Event

REF: Final = "#/components/schemas/"


def said_of(model: type[Event]) -> str:
    """Return a model's docstring on one line."""
    return " ".join((inspect.getdoc(model) or "").split())


def data_schemas() -> dict[str, Any]:
    """Return the schemas of the events' data and of the models they refer to, by class name."""
    wanted: list[Any] = [(model, "serialization") for model in EVENT_TYPES.values()]
    _, found = models_json_schema(wanted, ref_template=REF + "{model}")
    schemas: dict[str, Any] = {name: without_titles(schema) for name, schema in found["$defs"].items()}
    for model in EVENT_TYPES.values():
        schemas[model.__name__].setdefault("properties", {})
    return schemas


def envelope_schema() -> dict[str, Any]:
    """Return the schema of the envelope. Null fields are left out of an envelope."""
    schema = without_titles(Envelope.model_json_schema(mode="serialization", ref_template=REF + "{model}"))
    schema.pop("$defs", None)
    properties = schema["properties"]
    properties["specversion"] = {"const": "1.0"}
    properties["datacontenttype"] = {"const": "application/json"}
    properties["sequence"] = {"type": "integer", "minimum": 1}
    properties["traceparent"] = {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"}
    properties["severity"] = {"enum": ["info", "warning", "critical"]}
    schema["required"] = [name for name in properties if name not in ("sequence", "traceparent")]
    return dict(schema)


def without_titles(schema: Any) -> Any:
    """Return the schema without the titles that pydantic makes from names."""
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: without_titles(part)
        for name, part in schema.items()
        if not (name == "title" and isinstance(part, str))
    }
