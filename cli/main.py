"""The `rollcall` command."""

import logging
from collections.abc import Callable
from typing import Annotated

import typer

from cli import keys
from cli.commands import webhooks, workers
from cli.commands.audit import audit
from cli.commands.console import open_console
from cli.commands.dead_letters import replay
from cli.commands.local import demo, up
from cli.commands.privacy import erase
from cli.commands.read import search, transcript, watch
from cli.commands.sessions import end, session, sessions, start, token
from cli.commands.talk import call, canary
from cli.doctor.command import doctor
from cli.extras import needing
from shared.platform.output import never_refuse_text
from shared.platform.process import rollcall_version

app = typer.Typer(
    help="Rollcall: every LiveKit session gets exactly one agent, or the operator knows why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rollcall {rollcall_version()}")
        raise typer.Exit


@app.callback()
def _prepare(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    never_refuse_text()
    # The RTC library logs each connection; the commands themselves show what matters.
    logging.getLogger("livekit").setLevel(logging.ERROR)


_PANELS = {
    "On this machine": (up, demo, open_console, doctor, audit),
    "Sessions": (call, start, token, end, watch, sessions, session, canary),
    "What was said": (transcript, search, erase, replay),
}
# All other commands need only an API.
_EXTRAS = {up: "all", demo: "all", doctor: "cli", call: "cli"}
# The functions of the others are called as their commands are.
_NAMES: dict[Callable[..., None], str] = {open_console: "open"}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        _extra = _EXTRAS.get(_command)
        _name = _NAMES.get(_command)
        app.command(_name, rich_help_panel=_panel)(needing(_extra, _command) if _extra else _command)
app.add_typer(workers.app, name="workers", rich_help_panel="Sessions")
app.add_typer(webhooks.app, name="webhooks", rich_help_panel="Sessions")
app.add_typer(keys.app, name="keys", rich_help_panel="On this machine")


if __name__ == "__main__":
    app()
