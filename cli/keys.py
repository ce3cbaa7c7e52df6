"""`rollcall keys`: make, list and revoke API keys."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec

import typer
from rich.table import Table
from rich.text import Text

from cli.extras import needing
from devstack.environment import user_environment
from devstack.log_console import make_console
from shared.platform.plain_text import one_line

P = ParamSpec("P")

app = typer.Typer(help="API keys: make, list and revoke them.", no_args_is_help=True)

State = Annotated[Path, typer.Option(help="The local stack's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_STATE: Final = Path(".rollcall")


def _command(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    # The API's own program is run, on the database.
    return lambda command: app.command(name)(needing("cli", command))


@_command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="What the key is for: shop, website, tests.")],
    project: Annotated[str, typer.Option(help="The key's project; a new name makes a new project.")] = (
        "default"
    ),
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="sessions:write, sessions:read, transcripts:read, tokens:reserve or admin; repeatable."
            " Default: the first three."
        ),
    ] = None,
    publishable: Annotated[
        bool, typer.Option(help="For web pages: the key can only reserve tokens.")
    ] = False,
    origin: Annotated[
        list[str] | None, typer.Option(help="Origin of a page that may use a publishable key; repeatable.")
    ] = None,
    expires_in_days: Annotated[
        float | None, typer.Option(help="Days until the key expires; default: never.")
    ] = None,
    as_json: AsJson = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Make a key, and show it. No other command shows it again.

    The key goes into the database that DATABASE_URL names, or into that of the local stack.
    """
    arguments = [f"--name={name}", f"--project={project}"]
    arguments += [f"--scope={one}" for one in scope or ()]
    arguments += [f"--origin={one}" for one in origin or ()]
    arguments += ["--publishable"] if publishable else []
    arguments += [] if expires_in_days is None else [f"--expires-in-days={expires_in_days}"]
    made = _ask(state, "create", *arguments)
    if as_json:
        typer.echo(json.dumps(made))
        return
    console = make_console()
    console.print(Text(made["key"], style="bold green"))
    console.print(
        Text(
            "It is not shown again. Send it as `Authorization: Bearer …`;"
            " this command takes it from ROLLCALL_API_KEY.",
            style="dim",
        )
    )
    console.print(_table([made]))


@_command("list")
def list_(
    *,
    project: Annotated[str | None, typer.Option(help="Only keys of this project.")] = None,
    as_json: AsJson = False,
    state: State = DEFAULT_STATE,
) -> None:
    """List the keys, also revoked ones, without the keys themselves."""
    found = _ask(state, "list", *([] if project is None else ["--project", project]))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["keys"]:
        make_console().print(_table(found["keys"]))
    else:
        make_console().print("no keys: `rollcall keys create` makes one")


@_command("revoke")
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    as_json: AsJson = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Revoke a key. Within seconds the API refuses it everywhere."""
    revoked = _ask(state, "revoke", key_id)
    if as_json:
        typer.echo(json.dumps(revoked))
    else:
        make_console().print(_table([revoked]))


def _ask(state: Path, command: str, *arguments: str) -> Any:
    """Run the API's own program for it; leaves with exit code 1 if that refuses."""
    from devstack.services import REPOSITORY  # which brings what help and completion don't need

    env = user_environment()
    env.setdefault("DATABASE_URL", f"sqlite+aiosqlite:///{state.resolve() / 'rollcall.db'}")
    env["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        # -P: the user's folder may have a package `services` of its own.
        [sys.executable, "-P", "-m", "services.api.keys", command, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        make_console().print(Text(done.stderr.strip().splitlines()[-1], style="red"))
        raise typer.Exit(1)
    return json.loads(done.stdout)


def _table(keys: list[dict[str, Any]]) -> Table:
    table = Table()
    for column in ("id", "name", "project", "may", "created", "last used", "state"):
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for key in keys:
        may = "\n".join(map(one_line, [*key["scopes"], *(f"from {origin}" for origin in key["origins"])]))
        cells = (key["id"], one_line(key["name"]), one_line(key["project"]), may, _minute(key["created_at"]))
        table.add_row(*map(Text, (*cells, _minute(key["last_used_at"]), _state_of(key))))
    return table


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "never"


def _state_of(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {_minute(key['revoked_at'])}"
    return f"until {_minute(key['expires_at'])}" if key["expires_at"] else "good"
