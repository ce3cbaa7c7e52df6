"""`rollcall open`."""

import webbrowser
from typing import Annotated
from urllib.parse import quote

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, State, Target


def open_console(
    *,
    session: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The session to show; default: the list.")
    ] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Only print the address.")] = False,
    api: ApiUrl = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Open the console in a browser, and print its address."""
    page = f"sessions/{quote(session, safe='')}" if session else ""
    address = f"{Target.of(api, None, state).url}/console/{page}"
    typer.echo(address)
    if not print_only:
        webbrowser.open(address)
