"""Suggest corrections: the allowed names, and the one that was probably meant."""

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_CUTOFF: Final = 0.6
_SHOWN: Final = 60
_QUOTED: Final = re.compile(r"'([^']*)'")


def nearest(given: str, allowed: Collection[str]) -> str | None:
    """Return the allowed name that was probably meant; None if none is similar."""
    folded = {name.lower().replace("-", "_"): name for name in allowed}
    found = get_close_matches(given.lower().replace("-", "_"), folded, n=1, cutoff=_CUTOFF)
    return folded[found[0]] if found else None


def did_you_mean(given: object, allowed: Collection[str]) -> str:
    """Return `; did you mean …?` for the end of a sentence; "" if no name is similar."""
    meant = nearest(given, allowed) if isinstance(given, str) else None
    return f"; did you mean {meant}?" if meant is not None else ""


def allowed_and_nearest(kind: str, given: str, allowed: Collection[str]) -> str:
    """Return the message about a name that is not allowed."""
    names = ", ".join(sorted(allowed)[:_SHOWN])
    there_are = f"there are: {names}" if names else "there is none"
    return f"no such {kind}; {there_are}{did_you_mean(given, allowed)}"


def problem_of(fault: dict[str, Any], body: Any) -> str:
    """Return what is wrong with a field of a request, from pydantic's error.

    `body` is the body's type, if any.
    """
    message: str = fault["msg"].removeprefix("Value error, ")
    given, loc = fault.get("input"), fault["loc"]
    match fault["type"]:
        case "extra_forbidden":
            return allowed_and_nearest("field", str(loc[-1]), _fields_at(body, loc[1:-1]))
        case "string_unicode":
            return "must not contain lone surrogates"
        case "enum" | "literal_error":
            allowed = _QUOTED.findall(str(fault["ctx"]["expected"]))
            return f"must be one of {', '.join(allowed)}{did_you_mean(given, allowed)}"
        case "string_pattern_mismatch":
            examples = _examples_at(body, loc[1:])
            shown = f", as in {examples[0]}" if examples else ""
            return f"{message}{shown}{did_you_mean(given, examples)}"
    return message


def _fields_at(annotation: Any, loc: tuple[Any, ...]) -> list[str]:
    model = _model_at(annotation, loc)
    return [] if model is None else list(model.model_fields)


def _examples_at(annotation: Any, loc: tuple[Any, ...]) -> list[str]:
    model = _model_at(annotation, loc[:-1]) if loc else None
    field: FieldInfo | None = model.model_fields.get(str(loc[-1])) if model is not None else None
    return [str(example) for example in (field.examples if field else None) or []]


def _model_at(annotation: Any, loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the model to which a location leads from a type; None if there is none."""
    model = next(_models_in(annotation), None)
    if not loc or model is None:
        return model
    if isinstance(loc[0], int):
        return _model_at(annotation, loc[1:])
    field = model.model_fields.get(loc[0])
    return None if field is None else _model_at(field.annotation, loc[1:])


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
