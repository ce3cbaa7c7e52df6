"""Errors as problem details (RFC 9457). This module makes every error answer of the API."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from services.api import metrics
from services.api.errors.catalogue import CATALOGUE, TYPE_PREFIX
from services.api.http.suggest import problem_of
from shared.platform.database.errors import DATABASE_ERRORS, Fault, Kind, fault_of
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TRACE_HEADER = "X-Request-Id"

_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available",
}


class ProblemDetails(BaseModel):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    session_id: str | None = None
    errors: list[dict[str, str]] | None = None


PROBLEM_CONTENT: dict[str, Any] = {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}}
_DOCUMENTED: dict[str, Any] = {"content": PROBLEM_CONTENT}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": _TITLES[status], **_DOCUMENTED}
    for status in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
}

# For routes that take If-Match.
CHANGED: dict[str, Any] = {"description": _TITLES[412], **_DOCUMENTED}


class NoAgentDetails(ProblemDetails):
    """The body of an answer that waited for an agent that did not join."""

    cause: str
    advice: str
    evidence: dict[str, Any]
    session_id: str
    room_name: str


NO_AGENT: dict[str, Any] = {
    "description": "No agent joined, or not available",
    "content": {
        MEDIA_TYPE: {
            "schema": {"anyOf": [NoAgentDetails.model_json_schema(), ProblemDetails.model_json_schema()]}
        }
    },
}


class Problem(Exception):
    """An error for the client. `code` is stable; `detail` says what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.extra = extra


def unknown_session(session_id: str) -> Problem:
    """Return the problem of a session that does not exist."""
    return Problem(404, "session_not_found", f"there is no session {session_id}")


def invalid_field(field: str, problem: str) -> Problem:
    """Return the problem of a request with one bad field."""
    return invalid_fields([{"field": field, "problem": problem}])


def invalid_fields(errors: list[dict[str, str]]) -> Problem:
    """Return the problem of a request with bad fields; each error has a `field` and a `problem`."""
    summary = "; ".join(f"{error['field']}: {error['problem']}" for error in errors)
    return Problem(422, "invalid_request", summary, errors=errors)


def without_database(error: Exception, **about: str | None) -> Problem:
    """Return the problem of a request that the database failed.

    The database's own message goes only to the log.
    """
    fault = fault_of(error)
    if fault.kind is Kind.DATA:
        return _failed(error, **about)
    log.error("request_without_database", error=str(fault), state=fault.state, **about)
    return _database_unfit(fault) if fault.kind is Kind.DEPLOYMENT else _database_unavailable(fault)


def _database_unavailable(fault: Fault) -> Problem:
    detail = f"{fault.what}; try again in a few seconds"
    return Problem(503, "database_unavailable", detail, headers={"Retry-After": "2"})


def _database_unfit(fault: Fault) -> Problem:
    detail = f"{fault.what}; the log and /readyz tell the operator what to fix"
    return Problem(503, "database_unfit", detail, headers={"Retry-After": "15"})


def _failed(error: Exception, **about: str | None) -> Problem:
    log.error("request_failed", exc_info=error, **about)
    return Problem(500, "internal_error", "something went wrong on our side; it is logged")


def bare(problem: Problem) -> dict[str, Any]:
    """Return the problem's fields that need no request."""
    entry = CATALOGUE.get(problem.code)
    return {
        "type": f"{TYPE_PREFIX}{problem.code}",
        "title": entry.title if entry else _TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return the problem as the answer to a request."""
    code, status = problem.code, problem.status
    entry = CATALOGUE.get(code)
    trace_id = getattr(request.state, "trace_id", "")
    about = {"session_id": request.path_params["session_id"]} if "session_id" in request.path_params else {}
    body = {
        "type": f"{TYPE_PREFIX}{code}",
        "title": entry.title if entry else _TITLES.get(status, "Error"),
        "status": status,
        "detail": problem.detail,
        "instance": request.url.path,
        "code": code,
        "trace_id": trace_id,
        **about,
        **problem.extra,
    }
    metrics.problem_answered(code)
    headers = {**(problem.headers or {}), TRACE_HEADER: trace_id}
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem."""

    @app.exception_handler(Problem)
    async def _(request: Request, problem: Problem) -> JSONResponse:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, invalid: RequestValidationError) -> JSONResponse:
        body = _body_of(request)
        errors = [{"field": _field(fault), "problem": problem_of(fault, body)} for fault in invalid.errors()]
        summary = "; ".join(f"{e['field']}: {e['problem']}" for e in errors)
        return answer(request, Problem(422, "invalid_request", summary, errors=errors))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        code = _TITLES.get(error.status_code, "error").lower().replace(" ", "_")
        headers = dict(error.headers) if error.headers else {}
        if error.status_code == 405:  # the framework names only the methods of the first route
            headers["Allow"] = ", ".join(_methods_of(app, request.scope["path"]))
        return answer(request, Problem(error.status_code, code, str(error.detail), headers=headers))

    async def database_failed(request: Request, error: Exception) -> JSONResponse:
        return answer(request, without_database(error, path=request.url.path))

    @app.exception_handler(ClientDisconnect)
    async def _(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads this answer

    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, database_failed)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> JSONResponse:
        # This handler runs outside the middleware that sets the trace id.
        trace_id = getattr(request.state, "trace_id", None)
        return answer(request, _failed(error, path=request.url.path, trace_id=trace_id))


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """Return the methods that any route accepts at this path."""
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        if route.path and compile_path(route.path)[0].fullmatch(path):
            found |= set(route.methods or ())
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _body_of(request: Request) -> Any:
    """Return the type of the body that the request's route takes; None if it takes no body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return None if field is None else field.field_info.annotation


def _field(fault: dict[str, Any]) -> str:
    if fault["type"] == "json_invalid":  # the location is then a position in the text
        return "body"
    where, *parts = fault["loc"]
    if where == "query":  # if a parameter has several values, the problem says which one is wrong
        return str(parts[0])
    return ".".join(map(str, parts)) or "body"
