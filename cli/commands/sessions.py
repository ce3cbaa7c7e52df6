"""`rollcall start`, `token`, `end`, `sessions` and `session`."""

from typing import Annotated, Literal

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run
from cli.completion import session_ids
from shared.contracts.sessions import SessionStatus

SessionId = Annotated[str, typer.Argument(help="The session's id.", autocompletion=session_ids)]


def start(
    *,
    agent_name: Annotated[
        str | None, typer.Option("--agent-name", "--agent", help="The agent's name; default: the API's.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(help="The pool of workers; default: by the shares of the agent's traffic.")
    ] = None,
    wait: Annotated[
        int | None,
        typer.Option(min=1, max=30, help="Seconds to wait for the agent; exit code 1 if none comes."),
    ] = None,
    require: Annotated[
        Literal["active", "ready"] | None,
        typer.Option(help="What the agent has to prove: in the room, or listening."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", help="name=value, may be repeated; or one JSON object."),
    ] = None,
    room_name: Annotated[str | None, typer.Option(help="The room's name; default: a new room.")] = None,
    identity: Annotated[str | None, typer.Option(help="The caller's identity.")] = None,
    name: Annotated[str | None, typer.Option(help="The caller's name.")] = None,
    mode: Annotated[
        Literal["pipeline", "realtime"] | None, typer.Option(help="How the agent processes speech.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="stt=…, llm=…, tts=…, realtime=…, voice=… or language=…; may be repeated."),
    ] = None,
    instructions: Annotated[str | None, typer.Option(help="The agent's instructions.")] = None,
    canary: Annotated[
        bool, typer.Option("--canary", help="Only test whether a session gets its agent; nobody joins.")
    ] = False,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Start a session, and print what a caller needs to join its room."""
    from cli.starting import named_values, run_start

    wish = {
        "agent_name": agent_name,
        "deployment": deployment,
        "require": require,
        "metadata": named_values("--metadata", metadata),
        "room_name": room_name,
        "participant_identity": identity,
        "participant_name": name,
        "mode": mode,
        "models": named_values("--model", model),
        "instructions": instructions,
        "canary": canary or None,
    }
    run(run_start(Target.of(api, key, state), wish, wait_s=wait, as_json=as_json))


def token(
    *,
    agent_name: Annotated[
        str | None, typer.Option("--agent-name", "--agent", help="The agent's name; default: the API's.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", help="name=value, may be repeated; or one JSON object."),
    ] = None,
    identity: Annotated[str | None, typer.Option(help="The caller's identity.")] = None,
    name: Annotated[str | None, typer.Option(help="The caller's name.")] = None,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Reserve a session, and print a token for its room. Its agent is called when the caller joins."""
    from cli.starting import named_values, run_token

    wish = {
        "agent_name": agent_name,
        "metadata": named_values("--metadata", metadata),
        "participant_identity": identity,
        "participant_name": name,
    }
    run(run_token(Target.of(api, key, state), wish, as_json=as_json))


def end(
    session: SessionId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """End a session: its agent leaves, and its room closes."""
    from cli.starting import run_end

    run(run_end(Target.of(api, key, state), session, as_json=as_json))


def sessions(
    *,
    status: Annotated[
        list[SessionStatus] | None, typer.Option(help="Only sessions with this status; may be repeated.")
    ] = None,
    agent_name: Annotated[
        str | None, typer.Option("--agent-name", "--agent", help="Only sessions of this agent.")
    ] = None,
    cause: Annotated[
        list[str] | None, typer.Option(help="Only sessions that failed with this cause; may be repeated.")
    ] = None,
    room_name: Annotated[str | None, typer.Option(help="Only sessions in this room.")] = None,
    identity: Annotated[str | None, typer.Option(help="Only sessions of this caller.")] = None,
    worker: Annotated[str | None, typer.Option(help="Only sessions that were given to this worker.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", "-m", help="Only sessions with this name=value; may be repeated."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-23T12:00:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time: 2026-11-24T12:00:00Z")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only sessions that have not ended.")] = False,
    canary: Annotated[
        bool | None,
        typer.Option("--canary/--no-canary", help="Only canaries, or no canaries.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    all_: Annotated[bool, typer.Option("--all", help="All sessions, without a limit.")] = False,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """List sessions, the newest first."""
    from cli.render.listing import run_sessions

    if live and status:
        raise typer.BadParameter("say either --live or --status")
    filters = {
        "status": [one.value for one in status or ()] or None,
        "canary": canary,
        "agent_name": agent_name,
        "cause": cause or None,
        "room_name": room_name,
        "participant_identity": identity,
        "worker_id": worker,
        "metadata": metadata or None,
        "since": since,
        "until": until,
    }
    wanted = None if all_ else limit
    run(run_sessions(Target.of(api, key, state), filters, live=live, limit=wanted, as_json=as_json))


def session(
    session: SessionId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Show one session: its status, its attempts, and why it has no agent."""
    from cli.render.listing import run_session

    run(run_session(Target.of(api, key, state), session, as_json=as_json))
