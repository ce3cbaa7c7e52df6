"""`rollcall watch`: all live sessions, as a live table, or as a line for each change."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.client.answers import Session
from cli.client.client import Client
from cli.client.errors import ApiError
from cli.client.target import Target
from cli.render.listing import find_sessions
from cli.render.show import ago, local, plain_table, reason_text, status_text
from devstack.log_console import make_console
from shared.platform.plain_text import one_line, plain_json

INTERVAL_S: Final = 1.0
# How long an ended session stays on the screen.
LINGERS: Final = timedelta(seconds=15)


class Board:
    """The live sessions and, for a while, ended ones. `changes` are those of the last read."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over_since: dict[str, datetime] = {}
        self.sessions: dict[str, Session] = {}
        self.changes: list[Session] = []

    async def look(self, now: datetime) -> None:
        """Read the sessions; raises `ApiError`."""
        live = {s.session_id: s for s in await find_sessions(self._client, {}, live=True, limit=None)}
        gone = [one for one in self.sessions.values() if one.session_id not in live and not one.over]
        ended = {one.session_id: await self._client.session(one.session_id) for one in gone}
        seen = {**live, **ended}
        self.changes = [
            one for one in seen.values() if _state(one) != _state(self.sessions.get(one.session_id))
        ]
        self._over_since.update({session_id: now for session_id, one in ended.items() if one.over})
        late = {session_id for session_id, since in self._over_since.items() if now - since > LINGERS}
        self.sessions = {id_: one for id_, one in {**self.sessions, **seen}.items() if id_ not in late}
        self._over_since = {id_: since for id_, since in self._over_since.items() if id_ not in late}

    def table(self, now: datetime, *, rows: int) -> Table:
        """Return a table of at most so many sessions, newest first."""
        table = plain_table("session", "since", "try", "status")
        newest = sorted(self.sessions.values(), key=lambda one: one.session_id, reverse=True)
        for one in newest[:rows]:
            requested = one.timings.requested_at
            table.add_row(
                Text(one.session_id, style="dim" if one.over else ""),
                ago(requested, now) if requested else "",
                f"{one.attempt}/{one.max_attempts}",
                _status(one),
            )
        return table


async def run_watch_all(target: Target, *, as_json: bool) -> int:
    """Watch until interrupted. Raises `ApiError` if the API doesn't answer the first request."""
    console = make_console()
    async with target.open() as client:
        board = Board(client)
        await board.look(datetime.now(UTC))
        if as_json:
            await _lines(board, show=_print_json)
        elif console.is_terminal:
            await _show_board(board, console)
        else:
            await _lines(board, show=lambda session: console.print(_line(session)))
    return 0


async def _lines(board: Board, *, show: Callable[[Session], None]) -> None:
    while True:
        for session in board.changes:
            show(session)
        board.changes = []
        await asyncio.sleep(INTERVAL_S)
        await _look(board)


async def _show_board(board: Board, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        trouble: str | None = None
        while True:
            now = datetime.now(UTC)
            count = sum(not one.over for one in board.sessions.values())
            head = Text(f"{count} live sessions, {local(now)}; Ctrl-C leaves", style="bold")
            table = board.table(now, rows=max(1, console.height - 4))
            live.update(Group(head, table, Text(trouble or "", style="red")), refresh=True)
            await asyncio.sleep(INTERVAL_S)
            trouble = await _look(board)


async def _look(board: Board) -> str | None:
    """Read the sessions; return the error, if there is one: the next read may succeed."""
    try:
        await board.look(datetime.now(UTC))
    except ApiError as error:
        return str(error)
    return None


def _state(session: Session | None) -> tuple[object, ...]:
    return (session.status, session.attempt, session.waiting_for) if session else ()


def _status(session: Session) -> Text:
    text = status_text(session.status)
    ended = session.end_reason and reason_text(session.end_reason)
    why = (session.failure and session.failure.cause) or session.waiting_for or ended
    return text.append(f" {one_line(why)}", style="dim") if why else text


def _line(session: Session) -> Text:
    return Text(f"{local(datetime.now(UTC))}  {session.session_id}  ") + _status(session)


def _print_json(session: Session) -> None:
    typer.echo(plain_json(session.model_dump(mode="json")))
