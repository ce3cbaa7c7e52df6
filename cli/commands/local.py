"""`rollcall up` and `rollcall demo`: a stack on this machine."""

from typing import Annotated

import typer

from cli.client.target import DEFAULT_STATE, State


def up(
    state: State = DEFAULT_STATE,
    agents: Annotated[int, typer.Option(min=1, max=16, help="Number of agent workers.")] = 1,
) -> None:
    """Run the whole stack on this machine, until Ctrl-C.

    REDIS_URL, LIVEKIT_URL and DATABASE_URL, in the environment or in .env, replace the local parts.
    """
    from cli.up import run_up

    raise typer.Exit(run_up(state, agents=agents))


def demo(
    state: State = DEFAULT_STATE,
    once: Annotated[
        bool, typer.Option("--once", help="End after the call; exit code 1 if it failed.")
    ] = False,
) -> None:
    """Run the whole stack, and let a synthetic caller talk to the agent."""
    from cli.demo import run_demo

    raise typer.Exit(run_demo(state, once=once))
