"""`rollcall replay`."""

from typing import Annotated, Literal

import typer

from cli.client.target import DEFAULT_STATE, AsJson, State


def replay(
    *,
    stream: Annotated[
        Literal["turns", "reports"] | None, typer.Option(help="Only dead letters from this stream.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only dead letters with this reason.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the dead letters.")] = False,
    as_json: AsJson = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Put dead letters back on their stream, in order, and show those that are left."""
    from cli.replay import STREAMS, run_replay

    wish = {"stream": STREAMS.get(stream or ""), "reason": reason, "limit": limit, "dry_run": dry_run}
    raise typer.Exit(run_replay(wish, state, as_json=as_json))
