"""`rollcall keys`: make, list and revoke API keys.

With a key, the commands ask the API, for the key's project. Without one they run the API's own program on the
database: nobody can ask an API for the first key.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, complain, run
from cli.extras import needing
from devstack.environment import user_environment
from devstack.log_console import make_console
from shared.platform.plain_text import one_line

app = typer.Typer(help="API keys: make, list and revoke them.", no_args_is_help=True)

_PROJECT: Final = "default"


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="What the key is for: shop, website, tests.")],
    project: Annotated[
        str | None,
        typer.Option(
            help="The key's project; a new name makes a new project. Without --key only. Default: default."
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="sessions:write, sessions:read, transcripts:read, tokens:reserve, agent or admin;"
            " repeatable. Default: the first three."
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="Instead of scopes, for a person: viewer, transcripts, operator or admin."),
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
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Make a key, and show it. No other command shows it again.

    With --key the API makes it, in that key's project; that key needs the scope admin. Without, the key goes
    into the database that DATABASE_URL names, or into that of the local stack.
    """
    target = Target.of(api, key, state)
    if target.key:
        wanted: dict[str, Any] = {"name": name, "scopes": scope or [], "origins": origin or []}
        wanted |= {"kind": "publishable"} if publishable else {}
        wanted |= {} if role is None else {"role": role}
        wanted |= {} if expires_in_days is None else {"expires_in_days": expires_in_days}
        made = _ask_api(target, project, "POST", "/v1/keys", json=wanted)
    else:
        arguments = [f"--name={name}", f"--project={project or _PROJECT}"]
        arguments += [f"--scope={one}" for one in scope or ()]
        arguments += [] if role is None else [f"--role={role}"]
        arguments += [f"--origin={one}" for one in origin or ()]
        arguments += ["--publishable"] if publishable else []
        arguments += [] if expires_in_days is None else [f"--expires-in-days={expires_in_days}"]
        made = _on_database(state, "create", *arguments)
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


@app.command("list")
def list_(
    *,
    project: Annotated[
        str | None, typer.Option(help="Only keys of this project. Without --key only.")
    ] = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """List the keys, also revoked ones, without the keys themselves."""
    target = Target.of(api, key, state)
    if target.key:
        found = _ask_api(target, project, "GET", "/v1/keys")
    else:
        found = _on_database(state, "list", *([] if project is None else ["--project", project]))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["keys"]:
        make_console().print(_table(found["keys"]))
    else:
        make_console().print("no keys: `rollcall keys create` makes one")


@app.command("revoke")
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Revoke a key. Within seconds the API refuses it everywhere."""
    target = Target.of(api, key, state)
    if not target.key:
        revoked = _on_database(state, "revoke", key_id)
    elif key_id.isascii() and key_id.isalnum():
        revoked = _ask_api(target, None, "DELETE", f"/v1/keys/{key_id}")
    else:
        complain("that is no key's id\n`rollcall keys list` shows the ids")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(revoked))
    else:
        make_console().print(_table([revoked]))


def _ask_api(target: Target, project: str | None, method: str, path: str, **request: Any) -> Any:
    """Call a route under /v1/keys; leaves with exit code 1 if the API refuses."""
    if project is not None:
        raise typer.BadParameter("the API key has a project of its own: leave --project or --key out")
    answers: list[Any] = []

    async def ask() -> None:
        async with target.open() as client:
            answers.append(await client.call(method, path, **request))

    run(ask())
    return answers[0]


def _on_database(state: Path, command: str, *arguments: str) -> Any:
    """Run the API's own program on the database; leaves with exit code 1 if that refuses."""
    answers: list[Any] = []
    needing("cli", lambda: answers.append(_run_program(state, command, *arguments)))()
    return answers[0]


def _run_program(state: Path, command: str, *arguments: str) -> Any:
    from devstack.services import REPOSITORY  # imported here, since help and completion don't need it

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
