"""How many starts and tokens a second one API process serves, beside bare routes.

One bare route only mints a token; the other also commits one row. Both sides run on PostgreSQL, in one
process each, with the same uvicorn settings, in turn. The same number of clients each send the next request
as soon as they have an answer. The database, Redis and the clients share the cores.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import psutil

from bench.options import BenchFailed, Options, Results, at_least, fact, p50, say
from bench.stacks import bench_stack
from bench.usage import MEGABYTE
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.stack import Stack

AIM = 0.5
AIM_OF_INSERT = 0.8
BARE_INSERT = "bare INSERT and token"
CLIENTS = 32
WARM_UP_S = 1.0
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Side:
    """The request, and the process that answers it."""

    name: str
    url: str
    process: Process


@dataclass
class Load:
    """One measurement: answers a second, and how long each took."""

    rate: float
    seconds: list[float]


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    span_s = 4.0 if chosen.short else 10.0
    rounds = chosen.pick_rounds(short=2, full=3)
    async with bench_stack(replace(chosen, postgres=True), services=("api",)) as stack, _bare(stack) as bare:
        ours = stack.process("api")
        sides = [
            Side("bare", f"{bare.spec.env['BARE_URL']}/token", bare),
            Side(BARE_INSERT, f"{bare.spec.env['BARE_URL']}/sessions", bare),
            Side("POST /v1/sessions", f"{stack.api_url}/v1/sessions", ours),
            Side("POST /v1/token", f"{stack.api_url}/v1/token", ours),
        ]
        before = {side.name: _memory_mb(side) for side in sides}
        loads: dict[str, list[Load]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                load = await _load(side, span_s)
                loads[side.name].append(load)
                say(f"{side.name}: {load.rate:.0f} a second, p99 {_p99(load.seconds) * 1e3:.0f} ms")
        after = {side.name: _memory_mb(side) for side in sides}
    _show(results, loads, before, after)


@asynccontextmanager
async def _bare(stack: Stack) -> AsyncIterator[Process]:
    port = free_port()
    spec = ProcessSpec(
        name="bare",
        command=[sys.executable, "-m", "bench.bare_api", str(port)],
        env={**os.environ, **stack.env, "BARE_URL": f"http://127.0.0.1:{port}"},
        cwd=REPOSITORY,
        log_file=stack.logs / "bare.log",
        ready=http_ready(f"http://127.0.0.1:{port}/livez"),
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


async def _load(side: Side, span_s: float) -> Load:
    began = time.perf_counter() + WARM_UP_S
    seconds: list[float] = []

    async def client(http: aiohttp.ClientSession) -> None:
        while (asked := time.perf_counter()) < began + span_s:
            async with http.post(side.url, json={}) as answer:
                await answer.read()
                if answer.status >= 300:
                    raise BenchFailed(f"{side.name}: {answer.status} {await answer.text()}")
            if asked >= began:
                seconds.append(time.perf_counter() - asked)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as http:
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))
    return Load(len(seconds) / span_s, seconds)


def _memory_mb(side: Side) -> float:
    return psutil.Process(side.process.pid).memory_info().rss / MEGABYTE


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[-1]


def _show(
    results: Results, loads: dict[str, list[Load]], before: dict[str, float], after: dict[str, float]
) -> None:
    rates = {name: p50([load.rate for load in each]) for name, each in loads.items()}
    figures = []
    for name, each in loads.items():
        times = [second for load in each for second in load.seconds]
        figures.append(fact(f"{name}, a second", f"{rates[name]:.0f}"))
        figures.append(fact(f"{name}, p50 and p99", f"{p50(times) * 1e3:.0f} ms, {_p99(times) * 1e3:.0f} ms"))
        figures.append(fact(f"{name}, memory", f"{before[name]:.0f} MB, then {after[name]:.0f} MB"))
    over = rates["POST /v1/sessions"] / rates[BARE_INSERT]
    figures.append(at_least("POST /v1/sessions over bare INSERT and token", over, AIM_OF_INSERT))
    ours = ("POST /v1/sessions", "POST /v1/token")
    figures += [at_least(f"{name} over bare", rates[name] / rates["bare"], AIM) for name in ours]
    results.show("api", f"API, {CLIENTS} clients at once", figures)
