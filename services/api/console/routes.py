"""The routes of who uses the console, and of its page."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.api.auth.access import SessionsReader
from services.api.console.cookies import delete_cookies, name_for, set_cookie
from services.api.console.files import built_files, console_file
from services.api.console.logins import LONGEST
from services.api.console.schemas import Me
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS, Problem
from shared.platform.process import rollcall_version

router = APIRouter(responses=PROBLEMS, tags=["console"])


@router.get("/v1/me", summary="Who am I?")
async def me(asking: SessionsReader) -> Me:
    """Say whose project this is, and what the key may do."""
    return Me.of(asking, version=rollcall_version())


@router.post("/v1/login", summary="Log a browser in")
async def login(request: Request, response: Response, services: Deps, asking: SessionsReader) -> Me:
    """Exchange the API key of this request for a cookie, which has the key's rights.

    The login ends with its key, 12 hours after its last request, and 7 days after it began.
    """
    if asking.key_id is None:
        raise Problem(409, "login_not_needed", "this API asks nobody for a key")
    if asking.login is not None:
        raise Problem(409, "login_not_needed", "this browser is logged in; to begin anew, send an API key")
    name = name_for(request)
    cookie = await services.logins.begin(asking.key_id)
    set_cookie(response, name, cookie, max_age_s=int(LONGEST.total_seconds()))
    response.headers["Cache-Control"] = "no-store"
    return Me.of(asking, version=rollcall_version())


@router.post("/v1/logout", status_code=204, summary="Log a browser out")
async def logout(response: Response, services: Deps, asking: SessionsReader) -> None:
    """End this browser's login. Its cookie is refused from now on."""
    if asking.login is not None:
        await services.logins.end(asking.login)
    delete_cookies(response)


@router.get("/console", include_in_schema=False)
async def console() -> RedirectResponse:
    """Send the browser to the console's page."""
    return RedirectResponse("/console/", status_code=308)


@router.get("/console/{path:path}", include_in_schema=False)
async def console_page(request: Request, services: Deps, path: str) -> Response:
    """Serve the console's built files. Every other path is the page, which knows its own routes."""
    url = services.settings.client_livekit_url
    return console_file(path, request.headers, built=built_files(), livekit_url=url)
