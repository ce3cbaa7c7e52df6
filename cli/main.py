"""The `rollcall` command."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from livekit import rtc
from rich.text import Text

from cli import keys
from cli.canary import run_canary
from cli.client import ApiError, open_client
from cli.conversation import hold_conversation
from cli.demo import run_demo
from cli.replay import replay
from cli.screen import make_console
from cli.stack import running_api_url
from cli.transcript import export_transcript, show_search, show_transcript
from cli.up import run_up
from cli.voice import VoiceMissing

DEFAULT_STATE = Path(".rollcall")
DEFAULT_API = "http://127.0.0.1:8080"

State = Annotated[Path, typer.Option(help="Folder for configuration, data and logs.")]
ApiUrl = Annotated[str | None, typer.Option(help="The API's address; default: the local stack's.")]

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
app.add_typer(keys.app, name="keys")


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
    api: ApiUrl = None,
    agent: Annotated[str | None, typer.Option(help="The agent's name; default: the API's.")] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Call the agent, say the sentences, and show what happens and what is said."""
    raise typer.Exit(asyncio.run(_call(api or running_api_url(state) or DEFAULT_API, sentences, agent)))


@app.command()
def transcript(
    session: Annotated[str, typer.Argument(help="The session's id.")],
    format: Annotated[
        str | None, typer.Option(help="jsonl, txt, vtt, csv, openai, vcon or json: an export.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The export's file; default: standard output.")] = None,
    api: Annotated[str | None, typer.Option(help="The API's address; default: the local stack's.")] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Show a conversation, or export it."""
    api_url = api or running_api_url(state) or DEFAULT_API
    if format is None and output is None:
        _run(show_transcript(api_url, session, make_console()))
    else:
        _run(export_transcript(api_url, session, format or "txt", output))


@app.command()
def search(
    *,
    words: Annotated[str, typer.Argument(help='Words, "phrases", -not, OR.')],
    role: Annotated[str | None, typer.Option(help="user, assistant or tool.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent's name.")] = None,
    session: Annotated[str | None, typer.Option(help="A session's id.")] = None,
    since: Annotated[str | None, typer.Option(help="2026-11-23T12:00:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="2026-11-24T12:00:00Z")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    api: Annotated[str | None, typer.Option(help="The API's address; default: the local stack's.")] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Search what was said, in all sessions; the newest first."""
    filters = {"role": role, "agent_name": agent, "session_id": session, "since": since, "until": until}
    api_url = api or running_api_url(state) or DEFAULT_API
    _run(show_search(api_url, words, limit, make_console(), **filters))


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except (ApiError, OSError) as failure:
        make_console().print(Text(str(failure), style="red"))
        raise typer.Exit(1) from None


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


@app.command()
def canary(
    agent_name: Annotated[
        str | None, typer.Option("--agent-name", "--agent", help="The agent's name; default: the API's.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the verdict.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict alone, as JSON.")] = False,
    api: ApiUrl = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Start a session without a caller, and tell whether its agent gets ready; exit code 1 if not."""
    url = api or running_api_url(state) or DEFAULT_API
    raise typer.Exit(asyncio.run(_canary(url, agent_name, timeout, as_json=as_json)))


async def _canary(api_url: str, agent_name: str | None, timeout_s: float, *, as_json: bool) -> int:
    console = make_console()

    def show(line: Text) -> None:
        if not as_json:
            console.print(line)

    try:
        async with open_client(api_url) as client:
            verdict = await run_canary(client, agent_name=agent_name, timeout_s=timeout_s, show=show)
    except ApiError as failure:
        typer.echo(str(failure), err=True)
        return 1
    show(verdict.as_text())
    if as_json:
        typer.echo(verdict.as_json())
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    app()
