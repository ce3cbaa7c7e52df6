"""Messages for the user about errors between the command line and the API."""

from http import HTTPStatus
from typing import Any, Final

import httpx

from cli.client.errors import ApiError, Unreachable
from shared.platform.plain_text import one_line

_WHAT_TO_DO: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "give an API key with --key or ROLLCALL_API_KEY",
    HTTPStatus.FORBIDDEN: "use a key with that scope, by --key or ROLLCALL_API_KEY",
}


def unreachable(http: httpx.AsyncClient, error: Exception) -> Unreachable:
    """Return the error of a request without an answer."""
    return Unreachable(
        f"no answer from the API at {http.base_url}: {_why(error)}; is `make up` running?\n"
        "Another address: --api or ROLLCALL_URL. What is wrong: rollcall doctor"
    )


def error_of(method: str, path: str, response: httpx.Response) -> ApiError:
    """Return the error of a request that the API refused."""
    problem = _problem(response)
    code = one_line(str(problem.get("code", ""))) or None
    detail = one_line(str(problem.get("detail") or problem.get("title") or response.text[:200]))
    message = f"{method} {path}: {response.status_code} {f'{code}: ' if code else ''}{detail}"
    advice = one_line(str(problem.get("advice") or _WHAT_TO_DO.get(response.status_code) or ""))
    message = message.replace(f" {advice}", "") + f"\n{advice}" if advice else message
    return ApiError(message, status=response.status_code, code=code, problem=problem)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
