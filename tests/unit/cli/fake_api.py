"""A fake API for the command line, with hand-written answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from cli.client.client import Client
from shared.contracts.events import wrap
from shared.contracts.identifiers import SessionId

_START = datetime(2026, 11, 23, tzinfo=UTC)
_ID = SessionId("s1")


class Api:
    """An API with one session. `routes` answers by method and path; `asked` are the requests so far."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], httpx.Response] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []

    def answer(self, method: str, path: str, status: int, body: Any) -> None:
        self.routes[method, path] = httpx.Response(status, json=body)

    def client(self) -> Client:
        transport = httpx.MockTransport(self._respond)
        return Client(httpx.AsyncClient(transport=transport, base_url="http://api"))

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        if request.content:
            self.bodies.append(request.content)
        return self.routes[request.method, request.url.path]

    def happened(self, *steps: tuple[int, Any]) -> None:
        events = [
            wrap(event, session_id=_ID, source="test", time=_START + timedelta(milliseconds=ms)).model_dump(
                mode="json"
            )
            for ms, event in steps
        ]
        self.answer("GET", "/v1/sessions/s1/events", 200, {"events": events})

    def said(self, status: str, *turns: tuple[int, str, str], complete: bool | None = None) -> None:
        items = [
            {
                "seq": seq,
                "role": role,
                "text": text,
                "created_at": (_START + timedelta(seconds=seq)).isoformat(),
                "unknown": 1,
            }
            for seq, role, text in turns
        ]
        body = {"session_id": _ID, "status": status, "complete": complete, "missing": [], "items": items}
        self.answer("GET", "/v1/sessions/s1/transcript", 200, body)
