"""The `rollcall` command."""

import logging

import typer

from cli import keys
from cli.commands.letters import replay
from cli.commands.local import demo, up
from cli.commands.read import search, transcript, watch
from cli.commands.sessions import end, session, sessions, start, workers
from cli.commands.talk import call, canary
from cli.doctor.command import doctor
from shared.runtime.output import never_refuse_text

app = typer.Typer(
    help="Rollcall: every LiveKit session gets exactly one agent, or the operator knows why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _prepare() -> None:
    never_refuse_text()
    # The RTC library logs each connection; what matters is shown by the commands themselves.
    logging.getLogger("livekit").setLevel(logging.ERROR)


_PANELS = {
    "On this machine": (up, demo, doctor),
    "Sessions": (call, start, end, watch, sessions, session, workers, canary),
    "What was said": (transcript, search, replay),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(keys.app, name="keys", rich_help_panel="On this machine")


if __name__ == "__main__":
    app()
