"""The pages to which the `type` of an error leads."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, JSONResponse, Response

from services.api.errors.catalogue import CATALOGUE, TYPE_PREFIX, Entry
from services.api.errors.problems import PROBLEMS, Problem
from services.api.http.accept import preferred

router = APIRouter(responses={404: PROBLEMS[404]})


@router.get(
    TYPE_PREFIX + "{code}",
    tags=["errors"],
    summary="What an error means",
    response_class=JSONResponse,
    responses={200: {"content": {"text/html": {}}}},
)
async def explain(code: str, accept: Annotated[str, Header()] = "*/*") -> Response:
    """Say what an error means, and what to do."""
    entry = CATALOGUE.get(code)
    if entry is None:
        raise Problem(404, "not_found", "there is no error of this name; docs/errors.md lists all errors")
    if "text/html" in preferred(accept):
        return HTMLResponse(_page(code, entry))
    return JSONResponse({"type": f"{TYPE_PREFIX}{code}", "code": code, **vars(entry)})


def _page(code: str, entry: Entry) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(code)}</title>"
        f"<h1>{escape(code)}</h1><p>{entry.status} {escape(entry.title)}. {escape(entry.meaning)}"
        f"<p>{escape(entry.advice)}</html>"
    )
