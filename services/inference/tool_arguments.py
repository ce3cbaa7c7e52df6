"""Fill a tool's arguments from what a caller says, by the types and the names of its parameters."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from services.inference.ports import Parameter, Tool
from services.inference.understand import day_in, name_in, numbers_in, time_in

# What follows one of these is what the caller speaks of: "the weather in Paris", "a room for Anna".
_OBJECT: Final = re.compile(
    r"\b(?:in|for|at|about|of|near|from|to|on|named|called|is|it's)\s+"
    r"(?P<object>[^,.;?!]+?)(?=\s+(?:in|for|at|about|of|near|from|to|on|and|named|called|is)\s|[,.;?!]|$)",
    re.IGNORECASE,
)
_IDLE: Final = re.compile(
    r"\b(?:please|today|right now|now|thanks|thank you|the|a|an|my|it|me|you|there|like)\b", re.IGNORECASE
)
_NO: Final = re.compile(r"\b(?:no|not|don't|do not|never|without)\b", re.IGNORECASE)
_UNSAID: Final[dict[str, Any]] = {"integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def words_in(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z0-9']+", text.replace("’", "'").lower())


def arguments_in(text: str, tool: Tool) -> dict[str, Any]:
    """The arguments of a call: what the text holds, and a stand-in for what is required and nobody said.

    The first number in the text is that of the first parameter that takes one, and so on.
    """
    numbers = iter(numbers_in(text))
    found: dict[str, Any] = {}
    for parameter in tool.parameters:
        value = _value(text, parameter, numbers)
        if value is not None:
            found[parameter.name] = value
        elif parameter.required:
            found[parameter.name] = _unsaid(parameter)
    return found


def answer_to(text: str, parameter: Parameter) -> Any:
    """The value in a text that answers the question for this one parameter."""
    value = _value(text, parameter, iter(numbers_in(text)))
    return _tidy(text) if value is None else value


def missing_in(text: str, tool: Tool) -> Parameter | None:
    """The first parameter that is required and that only the caller knows: a word, or a choice."""
    arguments = arguments_in(text, tool)
    return next((p for p in tool.parameters if p.required and arguments[p.name] == ""), None)


def _value(text: str, parameter: Parameter, numbers: Iterator[float]) -> Any:
    """The value of one parameter; None if the text has none."""
    if parameter.choices:
        heard = words_in(text)
        return next((c for c in parameter.choices if _is_heard(words_in(str(c)), heard)), None)
    match parameter.type:
        case "integer" | "number":
            return _number(next(numbers, None), parameter.type)
        case "boolean":
            return _NO.search(text) is None
        case "array":
            item = _value(text, parameter.item, numbers) if parameter.item else None
            return None if item is None else [item]
        case "object":
            return None
        case _:
            return _text(text, parameter.name)


def _number(value: float | None, kind: str) -> float | int | None:
    if value is None:
        return None
    return int(value) if kind == "integer" or value.is_integer() else value


def _text(text: str, name: str) -> str | None:
    parts = set(re.split(r"[_\W]+", name.lower()))
    for words, read in (({"name"}, name_in), ({"day", "date"}, day_in), ({"time", "hour"}, time_in)):
        if parts & words and (value := read(text)):
            return value
    objects = [_tidy(match["object"]) for match in _OBJECT.finditer(text)]
    return next((found for found in reversed(objects) if found), None)


def _tidy(text: str) -> str:
    return " ".join(_IDLE.sub(" ", text).split()).strip(" .,;:!?\"'")


def _is_heard(choice: Sequence[str], heard: Sequence[str]) -> bool:
    length = len(choice)
    return any(list(heard[start : start + length]) == list(choice) for start in range(len(heard)))


def _unsaid(parameter: Parameter) -> Any:
    return None if parameter.nullable else _UNSAID.get(parameter.type, "")
