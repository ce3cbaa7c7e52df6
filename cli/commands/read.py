"""`rollcall watch`, `transcript` and `search`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run
from cli.completion import formats, roles, session_ids


def watch(
    session: Annotated[
        str | None,
        typer.Argument(help="The session's id; default: all live sessions.", autocompletion=session_ids),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one text on each line.")] = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Watch one session live, step by step and word by word; or all live sessions. Ctrl-C ends it."""
    target = Target.of(api, key, state)
    if session is None:
        from cli.render.watch_all import run_watch_all

        run(run_watch_all(target, as_json=as_json), watching=True)
    else:
        from cli.render.watch import run_watch

        run(run_watch(target, session, as_json=as_json), watching=True)


def transcript(
    *,
    session: Annotated[str, typer.Argument(help="The session's id.", autocompletion=session_ids)],
    format: Annotated[
        str | None,
        typer.Option(help="Export as jsonl, txt, vtt, csv, openai, vcon or json.", autocompletion=formats),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File for the export; default: standard output.")
    ] = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Show a conversation, or export it."""
    from cli.client.target import print_json
    from cli.render.transcript import export_transcript, read_transcript, show_transcript
    from devstack.log_console import make_console

    target = Target.of(api, key, state)

    async def whole() -> None:
        print_json(await read_transcript(target.url, session, key=target.key))

    if as_json and (format or output):
        raise typer.BadParameter("say either --json or --format and --output")
    if as_json:
        run(whole())
    elif format is None and output is None:
        run(show_transcript(target.url, session, make_console(), key=target.key))
    else:
        run(export_transcript(target.url, session, format or "txt", output, key=target.key))


def search(
    *,
    words: Annotated[str, typer.Argument(help='Words, "phrases", -not, OR.')],
    role: Annotated[str | None, typer.Option(help="user, assistant or tool.", autocompletion=roles)] = None,
    agent: Annotated[str | None, typer.Option(help="The agent's name.")] = None,
    session: Annotated[str | None, typer.Option(help="A session's id.", autocompletion=session_ids)] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-23T12:00:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time: 2026-11-24T12:00:00Z")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many.")] = 20,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Search what was said in all sessions, the newest first."""
    from cli.client.target import print_json
    from cli.render.transcript import search_transcripts, show_search
    from devstack.log_console import make_console

    target = Target.of(api, key, state)
    filters = {"role": role, "agent_name": agent, "session_id": session, "since": since, "until": until}

    async def found() -> None:
        print_json(await search_transcripts(target.url, words, limit, key=target.key, **filters))

    if as_json:
        run(found())
    else:
        run(show_search(target.url, words, limit, make_console(), key=target.key, **filters))
