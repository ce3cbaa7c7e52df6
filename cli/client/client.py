"""A small asynchronous client of Rollcall's API with typed answers. The command line uses it.

async with open_client("http://127.0.0.1:8080", key="…") as rollcall:
    started = await rollcall.start_session(metadata={"customer": "42"}, wait_s=10)
    async for news in rollcall.live(started.session_id):
        print(news)
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from cli.client.answers import Session, SessionPage, StartedSession, Transcript, Turn, WorkerOrdered, Workers
from cli.client.errors import ApiError, Unreachable
from cli.client.live import News, follow
from cli.client.show_error import error_of, unreachable
from shared.contracts.events import Envelope
from shared.contracts.workers import WorkerOrder

__all__ = [
    "ApiError",
    "Client",
    "Session",
    "SessionPage",
    "StartedSession",
    "Transcript",
    "Turn",
    "Unreachable",
    "WorkerOrdered",
    "open_client",
    "open_http",
]

TIMEOUT_S: Final = 10.0
# An answer that waits for the agent may take this long, and a little more.
WAIT_SLACK_S: Final = 10.0
_PAGE: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
A = TypeVar("A", bound=BaseModel)


class _History(BaseModel):
    events: list[Envelope]


class Client:
    """Calls the API.

    Every method raises `ApiError` if the API refuses, and `Unreachable` if it does not answer.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def start_session(self, *, wait_s: int | None = None, **wish: Any) -> StartedSession:
        """Start a session, and wait up to `wait_s` (at most 30) for its agent.

        `wish` may name agent_name, deployment, room_name, participant_identity, participant_name, mode,
        models, instructions, metadata, require, canary; for a value that is None, the API uses its default.
        Raises `ApiError` with the cause if the session fails in that time. If its outcome is still open,
        returns the session as it is.
        """
        headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
        timeout = TIMEOUT_S if wait_s is None else wait_s + WAIT_SLACK_S
        said = {name: value for name, value in wish.items() if value is not None}
        answer = await self.call("POST", "/v1/sessions", json=said, headers=headers, timeout=timeout)
        return read_as(StartedSession, answer)

    async def session(self, session_id: str) -> Session:
        """Read a session with its attempts."""
        return read_as(Session, await self.read(session_path(session_id)))

    async def sessions(self, *, limit: int | None = None, **filters: Any) -> list[Session]:
        """Read up to `limit` sessions (None: all), newest first, from as many pages as that takes.

        `filters` are those of the API: status, canary, agent_name, cause and others; a list gives several
        values.
        """
        found: list[Session] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            answer = await self.read("/v1/sessions", limit=size, cursor=cursor, **filters)
            page = read_as(SessionPage, answer)
            found += page.sessions
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def end_session(self, session_id: str) -> Session:
        """End a session, and return it. Ending an ended session is not an error."""
        return read_as(Session, await self.call("DELETE", session_path(session_id)))

    async def events(self, session_id: str) -> list[Envelope]:
        """Read everything that happened to a session so far, in order."""
        answer = await self.read(f"{session_path(session_id)}/events")
        return read_as(_History, answer).events

    def live(self, session_id: str, *, after: str | None = None) -> AsyncIterator[News]:
        """Yield a session's past events, then its new events and turns, until the session is over.

        After a break, it reconnects and continues where it stopped. `after` is the `id` of the last news that
        the caller has. Raises `ApiError` if the API refuses, but not while the API is down.
        """
        return follow(self._http, f"{session_path(session_id)}/events", after=after)

    async def transcript(self, session_id: str, *, after_seq: int = 0) -> Transcript:
        """Read the conversation so far: the turns above `after_seq`, in pages of the API's size."""
        path = f"{session_path(session_id)}/transcript"
        return read_as(Transcript, await self.read(path, after_seq=after_seq or None))

    async def workers(self) -> Workers:
        """Read the live agent workers, and the lost ones."""
        return read_as(Workers, await self.read("/v1/workers"))

    async def order_worker(self, worker_id: str, order: WorkerOrder) -> WorkerOrdered:
        """Order a worker to cordon, uncordon or drain; it reads the order with its next heartbeat."""
        answer = await self.call("POST", f"/v1/workers/{quote(worker_id, safe='')}/{order}")
        return read_as(WorkerOrdered, answer)

    async def read(self, path: str, **params: Any) -> Any:
        """GET `path` and return its JSON; a parameter that is None is left out."""
        wanted = {name: value for name, value in params.items() if value is not None}
        return await self.call("GET", path, params=wanted)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Any:
        """Call a route and return its JSON, None for no content; for routes without a method here."""
        try:
            # httpx limits only each step, and a server may answer in many steps.
            async with asyncio.timeout(timeout):
                response = await self._http.request(
                    method, path, json=json, params=params or None, headers=headers, timeout=timeout
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise unreachable(self._http, error) from None
        except UnicodeEncodeError:
            raise ApiError("an argument has bytes that are not UTF-8 text") from None
        if response.is_error:
            raise error_of(method, path, response)
        try:
            return response.json() if response.content else None
        except ValueError:
            raise ApiError(f"{method} {path}: the answer is not JSON; is this Rollcall's API?") from None


def session_path(session_id: str) -> str:
    """Return the path of a session; raises `ApiError` for a text that can't be an id."""
    if not _ID.fullmatch(session_id):
        shown = "".join(each if each.isascii() and each.isprintable() else "?" for each in session_id[:64])
        what = f"there is no session {shown or '(an empty id)'}: this is not a session's id"
        raise ApiError(f"{what}\nrollcall sessions lists them", code="session_not_found")
    return f"/v1/sessions/{session_id}"


def read_as(model: type[A], answer: Any) -> A:
    """Parse an answer; raises `ApiError` if it does not have the form of the API's answers."""
    try:
        return model.model_validate(answer)
    except ValidationError as invalid:
        what = f"the answer is no {model.__name__}; is this Rollcall's API, and of this version?"
        raise ApiError(
            f"{what}\n{invalid.error_count()} faults, the first: {invalid.errors()[0]['msg']}"
        ) from None


@asynccontextmanager
async def open_client(api_url: str, *, key: str | None = None) -> AsyncIterator[Client]:
    """Yield a client of the API at `api_url`, with an API key if the API needs one."""
    async with open_http(api_url, key=key) as http:
        yield Client(http)


def open_http(api_url: str, *, key: str | None = None) -> httpx.AsyncClient:
    """Return the underlying HTTP client; raises `ApiError` for an invalid address."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if not api_url.startswith(("http://", "https://")):
        raise ApiError(f"{api_url!r} is not an address of an API: it must begin with http:// or https://")
    try:
        return httpx.AsyncClient(base_url=api_url, headers=headers, timeout=TIMEOUT_S)
    except httpx.InvalidURL as error:
        raise ApiError(f"{api_url!r} is not an address of an API: {error}") from None
    except UnicodeEncodeError:
        raise ApiError("this is not an API key: it has characters that no key has") from None
