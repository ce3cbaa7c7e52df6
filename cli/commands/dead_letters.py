"""`rollcall replay`."""

import json
from typing import Annotated, Any, Literal

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run
from cli.extras import needing


def replay(
    *,
    stream: Annotated[
        Literal["turns", "reports"] | None, typer.Option(help="Only dead letters from this stream.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only dead letters with this reason.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the dead letters.")] = False,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Put dead letters back on their stream, in order, and show those that are left.

    With --api or --key the API does it, for the key's project; the key needs the scope admin. Without, this
    command does it on the Redis that REDIS_URL names, or on that of the local stack.
    """
    from cli.render.dead_letters import show_replayed

    wish = {"stream": stream, "reason": reason, "limit": limit, "dry_run": dry_run}
    answers: list[Any] = []

    async def over_api(target: Target) -> None:
        async with target.open() as client:
            answers.append(await client.call("POST", "/v1/dead-letter-replays", json=wish))

    def on_redis() -> None:
        from cli.replay import replay_on_redis

        answers.append(replay_on_redis(wish, state))

    if Target.is_named(api, key):
        run(over_api(Target.of(api, key, state)))
    else:
        needing("cli", on_redis)()
    if as_json:
        typer.echo(json.dumps(answers[0]))
    else:
        show_replayed(answers[0])
