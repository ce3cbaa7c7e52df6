"""URL parameters: the types that routes share, and the refusal of undeclared ones.

A parameter that a route doesn't know would be a filter that filters nothing: a client that misspells
`agent_name` would get everybody's sessions. So routes refuse it, as well as a second value of a parameter
that takes one.
"""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from services.api.errors.problems import invalid_fields
from services.api.http.suggest import allowed_and_nearest


def _of_our_time(value: datetime) -> datetime:
    if not 1970 <= value.year <= 9000:
        raise ValueError("must be between the years 1970 and 9000")
    return value


Time = Annotated[AwareDatetime, AfterValidator(_of_our_time)]
"""A time with its time zone."""

Cursor = Annotated[str, Query(max_length=64, pattern=r"^[0-9a-f-]+$")]
"""The `next_cursor` of the previous page."""


def _split(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [part for each in value for part in (each.split(",") if isinstance(each, str) else [each])]


Several: Final = BeforeValidator(_split)
"""Makes a list of values that are given one by one (`?a=x&a=y`) or separated by commas (`?a=x,y`)."""


async def _only_declared(request: Request) -> None:
    """Raise `Problem` for a parameter that the route doesn't declare, or that has too many values."""
    route = request.scope.get("route")
    # Routes outside the documentation (LiveKit's webhook, Prometheus' page) have forms of their own.
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    fields = get_flat_params(route.dependant)
    declared = {field.alias: field for field in fields if isinstance(field.field_info, params.Query)}
    errors = []
    for name in dict.fromkeys(request.query_params):
        if name not in declared:
            errors.append({"field": name, "problem": allowed_and_nearest("parameter", name, declared)})
        elif len(request.query_params.getlist(name)) > 1 and not _takes_several(declared[name]):
            errors.append({"field": name, "problem": "is given more than once"})
    if errors:
        raise invalid_fields(errors)


def _takes_several(field: Any) -> bool:
    return "list[" in str(field.field_info.annotation)


OnlyDeclared: Final = Depends(_only_declared)
"""Used by every router: its routes refuse parameters that they don't declare."""
