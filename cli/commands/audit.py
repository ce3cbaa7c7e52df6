"""`rollcall audit`."""

import json
from typing import Annotated, Any

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run


def audit(
    *,
    action: Annotated[str | None, typer.Option(help="Only this: key.create, worker.drain, …")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this key's id, or this user, did.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to the thing of this id.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-23T12:00:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time: 2026-11-24T12:00:00Z")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many.")] = 50,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Show who did what, the newest first."""
    from cli.render.audit import show_audit

    asked = {"action": action, "actor": actor, "target": target, "since": since, "until": until}
    answers: list[Any] = []

    async def ask(at: Target) -> None:
        async with at.open() as client:
            answers.append(await client.read("/v1/audit", limit=limit, **asked))

    run(ask(Target.of(api, key, state)))
    if as_json:
        typer.echo(json.dumps(answers[0]))
    else:
        show_audit(answers[0])
