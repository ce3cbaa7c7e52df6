"""Read the tools of a chat completion request: OpenAI's function tools, with their JSON schemas."""

from collections.abc import Mapping
from typing import Any, Final

from services.inference.ports import Parameter, Tool, Tools
from services.inference.request_refused import malformed

# A schema may refer to itself.
MAX_DEPTH: Final = 4
MAX_ALTERNATIVES: Final = 4
_ALTERNATIVES: Final = ("anyOf", "oneOf", "allOf")
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "array", "object"))


def read_tools(body: Mapping[str, Any]) -> Tools:
    """The tools that the model may call, and whether it must; none where `tool_choice` is `none`.

    Raises `RequestRefused` if they are not in OpenAI's shape. Tools that are no functions are left out.
    """
    listed, choice = body.get("tools") or [], body.get("tool_choice", "auto")
    if not isinstance(listed, list) or not all(isinstance(tool, dict) for tool in listed):
        raise malformed("tools must be a list of objects", param="tools")
    if choice == "none":
        return Tools()
    functions = [_read_tool(tool.get("function")) for tool in listed if tool.get("type") == "function"]
    if not isinstance(choice, dict):
        return Tools(known=tuple(functions), forced=choice == "required")
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if name not in {tool.name for tool in functions}:
        raise malformed(f"tool_choice names {name!r}, which is none of the tools", param="tool_choice")
    return Tools(known=tuple(tool for tool in functions if tool.name == name), forced=True)


def _read_tool(function: object) -> Tool:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise malformed("each function among the tools must have a name", param="tools")
    schema = function.get("parameters") or {}
    if not isinstance(schema, dict):
        raise malformed(f"the parameters of {function['name']} must be a JSON schema", param="tools")
    return Tool(name=function["name"], parameters=_read_parameters(schema))


def _read_parameters(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ()
    needed = required if isinstance(required, list) else []
    return tuple(
        _read_parameter(name, _resolved(part, schema), schema, required=name in needed)
        for name, part in properties.items()
    )


def _read_parameter(
    name: str, part: Mapping[str, Any], schema: Mapping[str, Any], *, required: bool, is_item: bool = False
) -> Parameter:
    types = part.get("type")
    listed = types if isinstance(types, list) else [types]
    item = {} if is_item else _resolved(part.get("items"), schema)
    values = part.get("enum") if isinstance(part.get("enum"), list) else []
    return Parameter(
        name=name,
        type=next((str(kind) for kind in listed if kind in _TYPES), "string"),
        choices=tuple(value for value in values or () if value is not None),
        item=_read_parameter(name, item, schema, required=True, is_item=True) if item else None,
        nullable="null" in listed or None in (values or ()),
        required=required,
    )


def _resolved(part: object, schema: Mapping[str, Any], *, depth: int = 0) -> dict[str, Any]:
    """A part of the schema with its references followed; of alternatives the first that is not null."""
    if not isinstance(part, dict) or depth > MAX_DEPTH:
        return {}
    if isinstance(part.get("$ref"), str):
        return _resolved(_referred(part["$ref"], schema), schema, depth=depth + 1)
    alternatives = next((part[key] for key in _ALTERNATIVES if isinstance(part.get(key), list)), None)
    if alternatives is None:
        return part
    kinds = [_resolved(each, schema, depth=depth + 1) for each in alternatives[:MAX_ALTERNATIVES]]
    chosen = next((kind for kind in kinds if kind.get("type") != "null"), {})
    if any(kind.get("type") == "null" for kind in kinds):
        return {**chosen, "type": [chosen.get("type"), "null"]}
    return chosen


def _referred(pointer: str, schema: Mapping[str, Any]) -> object:
    found: object = schema
    for step in pointer.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
