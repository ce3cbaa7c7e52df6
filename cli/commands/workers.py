"""`rollcall workers`, and its `cordon`, `uncordon` and `drain`."""

from typing import Annotated

import typer

from cli.client.target import DEFAULT_STATE, ApiUrl, AsJson, Key, State, Target, run

app = typer.Typer(help="List the agent workers that report to Rollcall; cordon, uncordon or drain one.")

WorkerId = Annotated[
    str, typer.Argument(metavar="ID", help="The worker's id, as `rollcall workers` shows it.")
]


@app.callback(invoke_without_command=True)
def workers(
    ctx: typer.Context,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """List the agent workers that report to Rollcall, with their names, calls and faults."""
    if ctx.invoked_subcommand is not None:
        _refuse_what_would_be_ignored(ctx)
        return
    from cli.render.fleet import run_workers

    run(run_workers(Target.of(api, key, state), as_json=as_json))


def _refuse_what_would_be_ignored(ctx: typer.Context) -> None:
    sources = filter(None, map(ctx.get_parameter_source, ctx.params))
    if any(source.name == "COMMANDLINE" for source in sources):
        raise typer.BadParameter(f"give options after {ctx.invoked_subcommand}, not before it")


@app.command()
def cordon(
    worker: WorkerId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Keep new calls from a worker, until it is uncordoned or ends. Its calls go on."""
    _order(worker, "cordon", Target.of(api, key, state), as_json=as_json)


@app.command()
def uncordon(
    worker: WorkerId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Let a cordoned worker take calls again."""
    _order(worker, "uncordon", Target.of(api, key, state), as_json=as_json)


@app.command()
def drain(
    worker: WorkerId,
    as_json: AsJson = False,
    api: ApiUrl = None,
    key: Key = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Keep new calls from a worker, and have it end with its last call. This can't be taken back."""
    _order(worker, "drain", Target.of(api, key, state), as_json=as_json)


def _order(worker: str, order: str, target: Target, *, as_json: bool) -> None:
    from cli.render.fleet import run_order
    from shared.contracts.workers import WorkerOrder

    run(run_order(target, worker, WorkerOrder(order), as_json=as_json))
