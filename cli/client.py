"""The API as the command line uses it: a small typed HTTP client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from cli.environment import user_environment
from shared.contracts.events import Envelope
from shared.contracts.sessions import SessionStatus

TIMEOUT_S = 10.0


class ApiError(Exception):
    """The API refused or can't be reached; the message is for the user."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StartedSession(_Answer):
    """A session that was asked for, and what it takes to join its room."""

    session_id: str
    room_name: str
    server_url: str
    participant_token: str
    status: SessionStatus


class Turn(_Answer):
    """One finished turn, as stored."""

    seq: int
    role: str
    text: str
    created_at: datetime
    kind: str = "message"
    interrupted: bool = False


class Transcript(_Answer):
    """The conversation so far; `complete` is None until the agent has said how many turns there were."""

    session_id: str
    status: SessionStatus
    complete: bool | None = None
    missing: list[int] = []
    items: list[Turn] = []


class Client:
    """Calls the API. Every method raises `ApiError`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def start_session(self, **wish: Any) -> StartedSession:
        """Ask for a session; `wish` may name agent_name, models, instructions, metadata."""
        return StartedSession.model_validate(await self._call("POST", "/v1/sessions", json=wish))

    async def session(self, session_id: str) -> dict[str, Any]:
        """Read a session with its attempts."""
        answer: dict[str, Any] = await self._call("GET", f"/v1/sessions/{session_id}")
        return answer

    async def events(self, session_id: str) -> list[Envelope]:
        """Read everything that happened to a session so far, in order."""
        answer = await self._call("GET", f"/v1/sessions/{session_id}/events")
        return [Envelope.model_validate(event) for event in answer["events"]]

    async def transcript(self, session_id: str) -> Transcript:
        """Read the conversation so far."""
        return Transcript.model_validate(await self._call("GET", f"/v1/sessions/{session_id}/transcript"))

    async def end_session(self, session_id: str) -> None:
        """End a session; ending an ended one is no error."""
        await self._call("DELETE", f"/v1/sessions/{session_id}")

    async def _call(self, method: str, path: str, *, json: Any = None) -> Any:
        try:
            response = await self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise ApiError(
                f"no answer from the API at {self._http.base_url}: {error!r}; is `make up` running?"
            ) from None
        if response.is_error:
            raise error_of(method, path, response)
        return response.json() if response.content else None


@asynccontextmanager
async def open_client(api_url: str) -> AsyncIterator[Client]:
    """Yield a client of the API at `api_url`."""
    async with open_http(api_url) as http:
        yield Client(http)


def open_http(api_url: str) -> httpx.AsyncClient:
    """An HTTP client for the API at `api_url`, with the user's key if he has one."""
    key = user_environment().get("ROLLCALL_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=api_url, timeout=TIMEOUT_S, headers=headers)


def error_of(method: str, path: str, response: httpx.Response) -> ApiError:
    """What the API refused, for the user."""
    return ApiError(f"{method} {path}: {response.status_code} {_reason(response)}")


def _reason(response: httpx.Response) -> str:
    try:
        problem = response.json()
        return f"{problem.get('code', '')}: {problem.get('detail') or problem.get('title') or problem}"
    except (ValueError, AttributeError):
        return response.text[:200]
