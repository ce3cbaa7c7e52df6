"""`rollcall start`, `rollcall token` and `rollcall end`."""

import json
from collections.abc import Sequence
from typing import Any

import typer
from rich.text import Text

from cli.client.answers import StartedSession
from cli.client.target import Target, complain, print_json
from cli.render.show import fields, local, reason_text, status_text
from devstack.log_console import make_console
from shared.contracts.sessions import SessionStatus
from shared.platform.plain_text import one_line


def named_values(option: str, given: Sequence[str] | None) -> dict[str, Any] | None:
    """Read name=value pairs, or one JSON object; raises `typer.BadParameter`."""
    if not given:
        return None
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        try:
            loaded = json.loads(given[0])
        except ValueError as error:
            raise typer.BadParameter(f"{option}: not JSON: {error}") from None
        return dict(loaded)
    values = {}
    for part in given:
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{option}: expected name=value, not {part!r}")
        values[name] = value
    return values


async def run_start(target: Target, wish: dict[str, Any], *, wait_s: int | None, as_json: bool) -> int:
    """Start a session and print it; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        started = await client.start_session(wait_s=wait_s, **wish)
    if as_json:
        print_json(started.model_dump(mode="json"))
    else:
        _show(started)
    if wait_s is not None and started.status is not SessionStatus.ACTIVE:
        complain(f"no agent after {wait_s} s\nit is still sought: rollcall session {started.session_id}")
        return 1
    return 0


async def run_token(target: Target, wish: dict[str, Any], *, as_json: bool) -> int:
    """Reserve a session and print its token; the exit code. Raises `ApiError`."""
    metadata = wish["metadata"]
    agent = {"agent_name": wish["agent_name"], "metadata": metadata and json.dumps(metadata)}
    said = {name: each for name, each in agent.items() if each}
    body = {name: wish[name] for name in ("participant_identity", "participant_name") if wish[name]}
    async with target.open() as client:
        granted = await client.call(
            "POST", "/v1/token", json={**body, **({"room_config": {"agents": [said]}} if said else {})}
        )
    if as_json:
        print_json(granted)
        return 0
    console = make_console()
    fields(
        console,
        [
            ("session", granted["session_id"]),
            ("room", one_line(granted["room_name"])),
            ("join at", one_line(granted["server_url"])),
            ("until", local(granted["expires_at"])),
            ("token", granted["participant_token"]),
        ],
    )
    console.print(Text(f"\nfollow it: rollcall watch {granted['session_id']}", style="dim"))
    return 0


async def run_end(target: Target, session_id: str, *, as_json: bool) -> int:
    """End a session; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        session = await client.end_session(session_id)
    if as_json:
        print_json(session.model_dump(mode="json"))
        return 0
    said = status_text(session.status)
    said.append(f": {reason_text(session.end_reason)}" if session.end_reason else "")
    fields(make_console(), [("session", session.session_id), ("status", said)])
    return 0


def _show(started: StartedSession) -> None:
    console = make_console()
    fields(
        console,
        [
            ("session", started.session_id),
            ("status", status_text(started.status)),
            ("agent", started.agent_identity),
            ("room", started.room_name),
            ("join at", started.server_url),
            ("identity", started.participant_identity),
            ("token", started.participant_token),
        ],
    )
    console.print(Text(f"\nfollow it: rollcall watch {started.session_id}", style="dim"))
