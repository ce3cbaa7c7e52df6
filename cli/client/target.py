"""The API and key of a command, the options for them, and the end of a command."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from cli.client.errors import ApiError
from devstack.environment import user_environment
from devstack.log_console import make_console
from devstack.state import running_api_url
from shared.platform.plain_text import plain_json

if TYPE_CHECKING:
    from cli.client.client import Client

DEFAULT_STATE: Final = Path(".rollcall")
DEFAULT_API: Final = "http://127.0.0.1:8080"
EXIT_INTERRUPTED: Final = 130

State = Annotated[Path, typer.Option(help="The local stack's folder: configuration, data and logs.")]
ApiUrl = Annotated[
    str | None,
    typer.Option("--api", envvar="ROLLCALL_URL", help="The API's address; default: the local stack's."),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="ROLLCALL_API_KEY", help="An API key, if the API asks for keys.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Target:
    """An API and its key."""

    url: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, api: str | None, key: str | None, state: Path = DEFAULT_STATE) -> "Target":
        """Return the target from the options, else from the environment or `.env`, else the local stack."""
        env = user_environment()
        url = api or env.get("ROLLCALL_URL") or running_api_url(state) or DEFAULT_API
        found_key = key or env.get("ROLLCALL_API_KEY")
        return cls(url.strip().rstrip("/"), found_key and found_key.strip())

    @staticmethod
    def is_named(api: str | None, key: str | None) -> bool:
        """Return whether the options, the environment or `.env` name an API or a key of one."""
        env = user_environment()
        return bool(api or key or env.get("ROLLCALL_URL") or env.get("ROLLCALL_API_KEY"))

    def open(self) -> "AbstractAsyncContextManager[Client]":
        """Open a client of the API."""
        from cli.client.client import open_client

        return open_client(self.url, key=self.key)


def run(work: Coroutine[Any, Any, int | None], *, watching: bool = False) -> None:
    """Run a command. A refusal is shown on standard error, and ends with exit code 1.

    If `watching`, Ctrl-C is the normal end, not a failure.
    """
    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(0 if watching else EXIT_INTERRUPTED) from None
    except (ApiError, OSError) as failure:
        complain(str(failure))
        raise typer.Exit(1) from None
    if code:
        raise typer.Exit(code)


def complain(message: str) -> None:
    """Print on standard error what went wrong, and in a muted colour what to do."""
    what, _, advice = message.partition("\n")
    text = Text(what, style="red")
    if advice:
        text.append(f"\n{advice}", style="yellow")
    make_console(stderr=True).print(text)


def print_json(value: Any) -> None:
    """Print one JSON text, and nothing else, on standard output."""
    typer.echo(plain_json(value, indent=2))
