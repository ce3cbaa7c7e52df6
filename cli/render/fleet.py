"""`rollcall workers`: the registry, and orders to a worker."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from cli.client.answers import Workers
from cli.client.target import Target, print_json
from cli.render.show import ago, name_in_pool, plain_table
from devstack.log_console import make_console
from shared.contracts.workers import WorkerCircuit, WorkerHeartbeat, WorkerOrder
from shared.platform.plain_text import one_line

if TYPE_CHECKING:
    from cli.client.client import Client

# A worker that beats obeys within a second or two.
OBEYS_WITHIN_S: Final = 10.0
LOOK_INTERVAL_S: Final = 0.2


async def run_workers(target: Target, *, as_json: bool) -> int:
    """Show the workers; return the exit code. Raises `ApiError`."""
    async with target.open() as client:
        found = await client.workers()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_workers(found, make_console(), now=datetime.now(UTC))
    return 0


async def run_order(target: Target, worker_id: str, order: WorkerOrder, *, as_json: bool) -> int:
    """Give an order, and wait for the worker to obey; the exit code: 1 if it does not. Raises `ApiError`."""
    async with target.open() as client:
        ordered = await client.order_worker(worker_id, order)
        told = await _obeyed(client, worker_id, ordered.order)
    if as_json:
        print_json({**ordered.model_dump(mode="json"), "obeyed": told is not None})
    else:
        said = told or f"{worker_id} was ordered to {ordered.order}, and has not told yet that it obeys"
        make_console().print(Text(one_line(said)))
    return 0 if told else 1


async def _obeyed(client: "Client", worker_id: str, order: WorkerOrder) -> str | None:
    """Say how the worker obeys; None if it has not told so in time."""
    give_up_at = time.monotonic() + OBEYS_WITHIN_S
    while time.monotonic() < give_up_at:
        worker = next((one for one in (await client.workers()).workers if one.worker_id == worker_id), None)
        if worker is None:
            return f"{worker_id} has ended" if order is WorkerOrder.DRAIN else None
        calls = f"{worker.active_jobs} of its calls go on"
        if order is WorkerOrder.DRAIN and worker.draining:
            return f"{worker_id} drains: it takes no new calls, and ends with its last; {calls}"
        if order is WorkerOrder.CORDON and worker.cordoned:
            return f"{worker_id} is cordoned: it takes no new calls; {calls}"
        if order is WorkerOrder.UNCORDON and not worker.cordoned:
            return f"{worker_id} takes new calls"
        await asyncio.sleep(LOOK_INTERVAL_S)
    return None


def show_workers(found: Workers, console: Console, *, now: datetime) -> None:
    """Print one line for each worker, the lost ones last, with their faults below."""
    if not found.workers:
        console.print(Text("no agent worker is running", style="yellow"))
        console.print(
            Text("start one: python -m services.agent; rollcall doctor says why it is missing", style="dim")
        )
    if not found.workers and not found.lost:
        return
    table = plain_table("agent", "worker", "host:pid", "calls", "state", "up")
    states = [(worker, _state(worker)) for worker in found.workers]
    states += [
        (worker, Text(f"lost, last heard {ago(worker.beat_at, now)} ago", style="red"))
        for worker in found.lost
    ]
    for worker, state in states:
        table.add_row(
            Text(name_in_pool(worker.agent_name, worker.deployment)),
            Text(one_line(worker.worker_id)),
            Text(one_line(f"{worker.host}:{worker.pid}")),
            f"{worker.active_jobs}/{worker.max_jobs}",
            state,
            ago(worker.started_at, now),
        )
    console.print(table)
    for worker in found.workers:
        if worker.circuit is not None:
            console.print(Text(one_line(f"{worker.worker_id}: {_circuit(worker.circuit)}"), style="red"))
        for fault in worker.faults:
            console.print(Text(one_line(f"{worker.worker_id}: {fault.cause}: {fault.detail}"), style="red"))


def _state(worker: WorkerHeartbeat) -> Text:
    if not worker.registered:
        return Text("not registered", style="red")
    if worker.draining:
        return Text("draining", style="yellow")
    if worker.cordoned:
        return Text("cordoned", style="yellow")
    if worker.is_left_out:
        return Text("on trial" if worker.is_on_trial else "left out", style="red")
    if worker.faults:
        return Text("faulty", style="red")
    return Text("free", style="green") if worker.free_slots else Text("full", style="yellow")


def _circuit(circuit: WorkerCircuit) -> str:
    if circuit.ignored:
        return f"fails, and is used because no other worker is left: it {circuit.reason}"
    return f"left out: it {circuit.reason}"
