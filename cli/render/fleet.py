"""`rollcall workers`: the registry."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from cli.client.target import Target, print_json
from cli.render.show import ago, plain_table
from devstack.log_console import make_console
from shared.contracts.workers import WorkerHeartbeat
from shared.platform.plain_text import one_line


async def run_workers(target: Target, *, as_json: bool) -> int:
    """Show the workers; the exit code. Raises `ApiError`."""
    async with target.open() as client:
        workers = await client.workers()
    if as_json:
        print_json({"workers": [worker.model_dump(mode="json") for worker in workers]})
    else:
        show_workers(workers, make_console(), now=datetime.now(UTC))
    return 0


def show_workers(workers: Sequence[WorkerHeartbeat], console: Console, *, now: datetime) -> None:
    """Print one line for each worker, and beneath it what is wrong with it."""
    if not workers:
        console.print(Text("no agent worker lives", style="yellow"))
        console.print(
            Text("start one: python -m services.agent; why it is away: rollcall doctor", style="dim")
        )
        return
    table = plain_table("agent", "worker", "host:pid", "calls", "state", "up")
    for worker in workers:
        table.add_row(
            Text(one_line(worker.agent_name + (f"@{worker.deployment}" if worker.deployment else ""))),
            Text(one_line(worker.worker_id)),
            Text(one_line(f"{worker.host}:{worker.pid}")),
            f"{worker.active_jobs}/{worker.max_jobs}",
            _state(worker),
            ago(worker.started_at, now),
        )
    console.print(table)
    for worker in workers:
        for fault in worker.faults:
            console.print(Text(one_line(f"{worker.worker_id}: {fault.cause}: {fault.detail}"), style="red"))


def _state(worker: WorkerHeartbeat) -> Text:
    if not worker.registered:
        return Text("not registered", style="red")
    if worker.draining:
        return Text("draining", style="yellow")
    if worker.faults:
        return Text("faulty", style="red")
    return Text("free", style="green") if worker.free_slots else Text("full", style="yellow")
