"""The console's cookie, and which requests may use it.

Browsers send a cookie by themselves, also where another page makes them. So a request that changes something
counts only if the console's own page sends it: from the same origin, with a header that other pages can't
set.
"""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from services.api.errors.problems import Problem
from shared.contracts.exposure import is_loopback

# Browsers take a cookie of this prefix only by https, from this very host, for all paths.
SECURE_COOKIE: Final = "__Host-rollcall"
# On plain http, browsers refuse the prefix. Only pages of this machine get this cookie.
LOOPBACK_COOKIE: Final = "rollcall-console"
CONSOLE_HEADER: Final = "X-Rollcall-Console"
_READING: Final = frozenset({"GET", "HEAD"})


def cookie_in(request: Request) -> str | None:
    """Return the cookie of a request that sends no key; None if there is none that counts.

    Raises `Problem` if the request changes something, and is not the console's own.
    """
    if "authorization" in request.headers:
        return None
    cookie = request.cookies.get(SECURE_COOKIE)
    if cookie is None and is_loopback(request.url.hostname or ""):
        cookie = request.cookies.get(LOOPBACK_COOKIE)
    if cookie is None:
        return None
    if request.method not in _READING and not _is_of_the_console(request):
        raise Problem(
            403,
            "not_from_console",
            "with the console's cookie, only the console's own page may change things",
        )
    return cookie


def name_for(request: Request) -> str:
    """Return the name of the cookie that this browser may get.

    Raises `Problem` on plain http from another machine.
    """
    if _is_https(request):
        return SECURE_COOKIE
    if is_loopback(request.url.hostname or ""):
        return LOOPBACK_COOKIE
    detail = "open the console by https, or at localhost: otherwise others could read the key on its way"
    raise Problem(400, "https_needed", detail)


def set_cookie(response: Response, name: str, cookie: str, *, max_age_s: int) -> None:
    """Give the browser its cookie, which no script can read."""
    secure = name == SECURE_COOKIE
    response.set_cookie(name, cookie, max_age=max_age_s, secure=secure, httponly=True, samesite="lax")


def delete_cookies(response: Response) -> None:
    """Make the browser forget its cookie."""
    response.delete_cookie(SECURE_COOKIE, secure=True, httponly=True, samesite="lax")
    response.delete_cookie(LOOPBACK_COOKIE, httponly=True, samesite="lax")


def _is_of_the_console(request: Request) -> bool:
    if CONSOLE_HEADER not in request.headers:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    # Browsers before 2023 don't say the site everywhere. A page can't choose its origin, nor the host.
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host")


def _is_https(request: Request) -> bool:
    """Return whether the browser uses https: by its own word, since a proxy may have taken the TLS off."""
    origin = request.headers.get("origin")
    return (urlsplit(origin).scheme if origin else request.url.scheme) == "https"
