"""The console's built files, which are data of this package: `make console` builds them.

A name under `assets/` has a hash of its content, so browsers may keep it for ever. A missing one stays 404: a
page that is older than the server then learns that it has to load anew, and does not run HTML as a script.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi import Response

from services.api.errors.problems import Problem

FOLDER: Final = Path(__file__).parent / "built"
PAGE: Final = "index.html"
# Below this, the header of a compressed file is longer than what it saves.
_WORTH_ZIPPING: Final = 500

_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "style-src-attr 'unsafe-inline'",  # positions in lists and charts
    "img-src 'self' data:",
    "font-src 'self'",
    "media-src 'self' blob:",  # the agent's voice
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)
# LiveKit Cloud sends its clients on to the nearest of its regions.
_CLOUD: Final = (".livekit.cloud", ".livekit.run")
_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}


@cache
def content_policy(livekit_url: str) -> str:
    """Return the policy of a page that may connect to the API and, for calls, to LiveKit at this URL."""
    return "; ".join((*_POLICY, " ".join(("connect-src 'self'", *_livekit_sources(livekit_url)))))


def _livekit_sources(url: str) -> list[str]:
    """Return LiveKit's sources: a call is a WebSocket, and why it failed is asked by HTTP."""
    parts = urlsplit(url)
    hosts = [parts.netloc.rpartition("@")[2]]
    hosts += [f"*{domain}" for domain in _CLOUD if (parts.hostname or "").endswith(domain)]
    schemes = ("wss", "https") if parts.scheme in ("wss", "https") else ("ws", "http")
    return [f"{scheme}://{host}" for host in hosts for scheme in schemes]


@dataclass(frozen=True)
class BuiltFile:
    """A file as it is sent; `zipped` is None where compression saves nothing."""

    body: bytes
    zipped: bytes | None
    media_type: str
    etag: str


@cache
def built_files() -> Mapping[str, BuiltFile]:
    """Return the built files by their path under /console."""
    return {
        file.relative_to(FOLDER).as_posix(): _read(file)
        for file in sorted(FOLDER.rglob("*"))
        if file.is_file()
    }


def _read(path: Path) -> BuiltFile:
    body = path.read_bytes()
    zipped = gzip.compress(body, mtime=0) if len(body) > _WORTH_ZIPPING else None
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return BuiltFile(body, zipped, media_type, etag)


def console_file(
    path: str, asked: Mapping[str, str], *, built: Mapping[str, BuiltFile], livekit_url: str
) -> Response:
    """Return the answer to a path under /console, by the request's headers. Raises `Problem`.

    `livekit_url` is where the page may call an agent.
    """
    file = built.get(path)
    if file is None and not path.startswith("assets/"):
        path, file = PAGE, built.get(PAGE)
    if file is None:
        raise Problem(404, "not_found", "the console has no such file; load the page anew")
    kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
    policy = {"Content-Security-Policy": content_policy(livekit_url)}
    headers = {**_HEADERS, **policy, "ETag": file.etag, "Cache-Control": kept}
    if asked.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    zipped = file.zipped if "gzip" in asked.get("accept-encoding", "") else None
    if zipped is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(file.body if zipped is None else zipped, headers=headers, media_type=file.media_type)
