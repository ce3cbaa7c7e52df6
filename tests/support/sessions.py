"""Start sessions over HTTP, and wait for their outcomes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from livekit import api

from devstack.stack import Stack
from shared.core.sessions.tables import SessionRow
from shared.platform.database.database import Database

# Far above the time of anything on a loaded machine; no test measures speed.
PATIENCE_S = 60.0
TERMINAL = {"ended", "failed", "cancelled", "expired"}


async def until(check: Callable[[], Awaitable[Any]], *, what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true value of `check`; fails the test after `timeout_s`."""
    began = time.monotonic()
    while True:
        value = await check()
        if value:
            return value
        waited = time.monotonic() - began
        assert waited < timeout_s, f"not in {timeout_s:g} s: {what}"
        await asyncio.sleep(pause_after(waited))


def pause_after(waited_s: float) -> float:
    """Return the seconds until the next look of somebody who has waited so long.

    Looks at the API 20 times a second take a fifth of a core from those who are waited for.
    """
    return min(max(0.05, waited_s / 20), 0.25)


STARTS = 8


class Rollcall:
    """The API of a stack and its LiveKit server, for tests."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._http = httpx.AsyncClient(base_url=stack.api_url, timeout=30)

    async def close(self) -> None:
        await self._http.aclose()

    async def start(self, *, idempotency_key: str | None = None, **wish: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        response = await self._http.post("/v1/sessions", json=wish, headers=headers)
        assert response.status_code == 202, response.text
        return _body(response)

    async def start_served(self, **wish: Any) -> dict[str, Any]:
        """Return a session with its agent. On a busy machine the first jobs of a worker start too late."""
        for _ in range(STARTS):
            started = await self.start(**wish)
            session = await self.until_status(started["session_id"], "active", "failed")
            if session["status"] == "active":
                return session
        raise AssertionError(f"no agent for {STARTS} sessions: {session['failure']}")

    async def get(self, path: str) -> dict[str, Any]:
        response = await self._http.get(path)
        assert response.status_code == 200, response.text
        return _body(response)

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        response = await self._http.post(path, json=body or None)
        assert response.is_success, response.text
        return _body(response)

    async def put(self, path: str, body: Any) -> dict[str, Any]:
        response = await self._http.put(path, json=body)
        assert response.is_success, response.text
        return _body(response)

    async def health(self, path: str) -> dict[str, Any]:
        """Return the body of a health page, whatever its status."""
        return _body(await self._http.get(path))

    async def session(self, session_id: str) -> dict[str, Any]:
        return await self.get(f"/v1/sessions/{session_id}")

    async def event_types(self, session_id: str) -> list[str]:
        return [event["type"] for event in await self.events(session_id)]

    async def events(self, session_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = (await self.get(f"/v1/sessions/{session_id}/events"))["events"]
        return events

    async def transcript(self, session_id: str) -> dict[str, Any]:
        return await self.get(f"/v1/sessions/{session_id}/transcript")

    async def end(self, session_id: str) -> dict[str, Any]:
        response = await self._http.delete(f"/v1/sessions/{session_id}")
        assert response.status_code == 200, response.text
        return _body(response)

    async def until_status(self, session_id: str, *wanted: str) -> dict[str, Any]:
        """Wait for a status; fail at once if the session ends with another one."""

        async def check() -> dict[str, Any] | None:
            session = await self.session(session_id)
            if session["status"] in wanted:
                return session
            assert session["status"] not in TERMINAL, session
            return None

        found: dict[str, Any] = await until(check, what=f"session {session_id} is {' or '.join(wanted)}")
        return found

    async def until_event(self, session_id: str, event_type: str) -> dict[str, Any]:
        async def check() -> dict[str, Any] | None:
            return next((e for e in await self.events(session_id) if e["type"] == event_type), None)

        found: dict[str, Any] = await until(check, what=f"{event_type} of session {session_id}")
        return found

    async def freeze(self, *services: str) -> None:
        """Freeze services of the stack, none of them within a write transaction.

        SQLite has one write transaction at a time: a service frozen in it would block all others.
        """
        database = Database(self.stack.database_url)
        try:
            async with database.write():
                for process in map(self.stack.process, services):
                    process.freeze()
                    await until(partial(_stands_still, process.pid), what=f"{process.spec.name} is frozen")
        finally:
            await database.close()

    def livekit(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(
            self.stack.livekit_url, self.stack.livekit_api_key, self.stack.livekit_api_secret
        )

    def token_for(self, started: dict[str, Any], identity: str) -> dict[str, str]:
        """Return a token for somebody else to join a session's room."""
        token = api.AccessToken(self.stack.livekit_api_key, self.stack.livekit_api_secret)
        grants = api.VideoGrants(room_join=True, room=started["room_name"])
        return {"participant_token": token.with_identity(identity).with_grants(grants).to_jwt()}

    async def agents_in(self, room_name: str) -> list[str]:
        """The identities of the agents that LiveKit lists in a room."""
        async with self.livekit() as livekit:
            found = await livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        kind = api.ParticipantInfo.Kind.AGENT
        return [participant.identity for participant in found.participants if participant.kind == kind]

    async def people_in(self, room_name: str) -> list[str]:
        """The identities of everyone whom LiveKit lists in a room."""
        async with self.livekit() as livekit:
            found = await livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        return [participant.identity for participant in found.participants]

    async def room_exists(self, room_name: str) -> bool:
        async with self.livekit() as livekit:
            found = await livekit.room.list_rooms(api.ListRoomsRequest(names=[room_name]))
        return bool(found.rooms)

    async def until_gone(self, room_name: str, *, timeout_s: float = PATIENCE_S) -> None:
        async def gone() -> bool:
            return not await self.room_exists(room_name)

        await until(gone, what=f"room {room_name} is closed", timeout_s=timeout_s)

    async def until_cleared(self, session_id: str) -> None:
        """Wait until the session is over and its last clearing in LiveKit is done."""
        database = Database(self.stack.database_url)

        async def cleared() -> bool:
            async with database.read() as db:
                row = await db.get(SessionRow, session_id)
            return row is not None and row.status in TERMINAL and row.next_check_at is None

        try:
            await until(cleared, what=f"session {session_id} is cleared away")
        finally:
            await database.close()


def _body(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    return body


async def _stands_still(pid: int | None) -> bool:
    assert pid is not None
    group = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    threads = [thread for member in group for thread in Path(f"/proc/{member}/task").glob("*/stat")]
    return all(thread.read_text().rpartition(") ")[2].startswith("T") for thread in threads)
