"""The `rollcall` command."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer
from livekit import rtc
from rich.text import Text

from cli.client import ApiError, open_client
from cli.conversation import hold_conversation
from cli.demo import run_demo
from cli.replay import replay
from cli.screen import make_console
from cli.stack import running_api_url
from cli.up import run_up
from cli.voice import VoiceMissing

DEFAULT_STATE = Path(".rollcall")
DEFAULT_API = "http://127.0.0.1:8080"

State = Annotated[Path, typer.Option(help="Folder for configuration, data and logs.")]

app = typer.Typer(
    help="Rollcall: every LiveKit session gets exactly one agent, or the operator knows why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _quiet() -> None:
    # The RTC library logs each connection; what matters is shown by the commands themselves.
    logging.getLogger("livekit").setLevel(logging.ERROR)


app.command()(replay)


@app.command()
def up(
    state: State = DEFAULT_STATE,
    agents: Annotated[int, typer.Option(min=1, max=16, help="How many agent workers.")] = 1,
) -> None:
    """Run the whole stack on this machine, until Ctrl-C.

    REDIS_URL, LIVEKIT_URL and DATABASE_URL, in the environment or in .env, replace the local parts.
    """
    raise typer.Exit(run_up(state, agents=agents))


@app.command()
def demo(
    state: State = DEFAULT_STATE,
    once: Annotated[
        bool, typer.Option("--once", help="End after the call; exit code 1 if it failed.")
    ] = False,
) -> None:
    """Run the whole stack, and let a synthetic caller talk to the agent."""
    raise typer.Exit(run_demo(state, once=once))


@app.command()
def call(
    sentences: Annotated[list[str], typer.Argument(help="What to say, one sentence after the other.")],
    api: Annotated[str | None, typer.Option(help="The API's address; default: the local stack's.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent's name; default: the API's.")] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Call the agent, say the sentences, and show what happens and what is said."""
    raise typer.Exit(asyncio.run(_call(api or running_api_url(state) or DEFAULT_API, sentences, agent)))


async def _call(api_url: str, sentences: list[str], agent_name: str | None) -> int:
    console = make_console()
    try:
        async with open_client(api_url) as client:
            outcome = await hold_conversation(client, sentences, show=console.print, agent_name=agent_name)
    except (ApiError, rtc.ConnectError, VoiceMissing) as failure:
        console.print(Text(str(failure), style="red"))
        return 1
    if outcome.problem:
        console.print(Text(outcome.problem, style="red"))
    return 0 if outcome.joined and outcome.problem is None else 1


if __name__ == "__main__":
    app()
