"""`rollcall watch ID`: show one session's events, turns and captions live."""

from collections.abc import Callable
from contextlib import suppress

import typer
from rich.text import Text

from cli.client.answers import Caption, Transcript, Turn
from cli.client.client import Client
from cli.client.errors import ApiError
from cli.client.live import News
from cli.client.target import Target
from cli.render.captions import CaptionConsole
from cli.render.show import local
from cli.render.timeline import Lines
from devstack.log_console import make_console
from shared.contracts.events import Envelope
from shared.platform.plain_text import plain_json


class Watch:
    """Shows each event and turn once, and the speakers' captions."""

    def __init__(self, *, show: Callable[[Text], None], caption: Callable[[Caption], None]) -> None:
        self._show = show
        self._caption = caption
        self._lines = Lines()
        self._shown: set[tuple[str, int]] = set()

    def take(self, news: News) -> None:
        """Show news."""
        match news.what:
            case Envelope() as event:
                self._show(self._lines.of(event))
            case Turn() as turn:
                self.turn(turn)
            case Caption() as caption:
                self._caption(caption)

    def turn(self, turn: Turn) -> None:
        """Show a finished turn instead of its caption, unless it was already shown."""
        if (turn.id, turn.seq) in self._shown:
            return
        self._shown.add((turn.id, turn.seq))
        self._caption(Caption(role=turn.role, text=""))
        self._show(self._lines.of(turn))


async def run_watch(target: Target, session_id: str, *, as_json: bool) -> int:
    """Watch a session until it is over; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        if as_json:
            return await _as_json(client, session_id)
        session = await client.session(session_id)
        console = make_console()
        console.print(
            Text(f"session {session_id}, requested {local(session.timings.requested_at)}", style="bold")
        )
        with CaptionConsole(console) as screen:
            watch = Watch(show=screen.print, caption=screen.caption)
            async for news in client.live(session_id):
                watch.take(news)
        # A turn may be stored after the session's end, and the stream may have contained no turns.
        with suppress(ApiError):
            transcript = await client.transcript(session_id)
            for turn in transcript.items:
                watch.turn(turn)
            console.print(Text(_verdict(transcript), style="dim"))
    return 0


async def _as_json(client: Client, session_id: str) -> int:
    async for news in client.live(session_id):
        kind = {Envelope: "event", Turn: "turn", Caption: "caption"}[type(news.what)]
        line = {"kind": kind, "id": news.id, kind: news.what.model_dump(mode="json")}
        typer.echo(plain_json(line))
    return 0


def _verdict(transcript: Transcript) -> str:
    said = {True: "complete", False: f"incomplete, missing {transcript.missing}", None: "not closed"}
    return f"transcript: {said[transcript.complete]}; rollcall transcript {transcript.session_id}"
