"""The cost of observability: sessions a second with metrics, traces and logs, compared with none.

Two stacks run in turn, each with its own LiveKit server and light joiners. The first counts metrics, is
scraped once a second, traces every session to an OTLP receiver, and logs as in production. The second counts
no metrics, is not scraped, traces nothing, and logs only errors.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.client import open_client
from bench.joiners import running_joiners
from bench.options import BenchFailed, Options, Results, at_least, fact, say
from bench.stacks import PIPELINE, bench_stack, until_idle
from bench.throughput import AGENT_NAME, SLOTS, Load, Side, measure, our_session, show_loads
from devstack.stack import Stack
from shared.platform.background import stop_all

AIM = 0.95
IN_FLIGHT = 16
SCRAPE_INTERVAL_S = 1.0
UNOBSERVED = Path(__file__).parent / "unobserved"


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    span_s = 6.0 if chosen.short else 20.0
    rounds = chosen.pick_rounds(short=2, full=5)
    loads: list[Load] = []
    async with _receiver() as receiver:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "LOG_FORMAT": "json"}
        off = {"PYTHONPATH": str(UNOBSERVED), "LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"}
        async with _side(chosen, "off", off) as without, _side(chosen, "on", on) as observed:
            scraping = asyncio.create_task(_scrape_for_ever(observed.stack))
            try:
                for number in range(rounds):
                    sides = (without, observed) if number % 2 else (observed, without)
                    for side in sides:
                        await until_idle(side.stack, AGENT_NAME)
                        loads.append(await measure(side, chosen.sessions or IN_FLIGHT, span_s))
                        say(f"{side.kind}: {loads[-1].rate:.1f} sessions/s")
            finally:
                await stop_all([scraping])
        if not receiver.bytes:
            raise BenchFailed("no trace came: the measurement is not valid")
    _show(results, loads, receiver)


class _Receiver:
    """Receives traces and discards them."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = self.bytes = 0

    async def take(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.bytes += len(await request.read())
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def _receiver() -> AsyncIterator[_Receiver]:
    receiver = _Receiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _side(chosen: Options, kind: str, env: dict[str, str]) -> AsyncIterator[Side]:
    async with (
        bench_stack(chosen, env=env) as stack,
        running_joiners(stack, agent_name=AGENT_NAME, slots=SLOTS) as joiners,
        open_client(stack) as client,
    ):
        yield Side(kind, stack, joiners, partial(our_session, client))


async def _scrape_for_ever(stack: Stack) -> None:
    addresses = [address for some in stack.metrics_addresses().values() for address in some]
    headers = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            await asyncio.sleep(SCRAPE_INTERVAL_S)
            for address in addresses:
                async with http.get(f"http://{address}/metrics") as answer:
                    answer.raise_for_status()
                    await answer.read()


def _show(results: Results, loads: list[Load], receiver: _Receiver) -> None:
    show_loads(loads)
    rate = {kind: statistics.median(one.rate for one in loads if one.kind == kind) for kind in ("off", "on")}
    cpu = {kind: statistics.median(_pipeline_ms(one) for one in loads if one.kind == kind) for kind in rate}
    figures = [
        fact("sessions/s, off and on", f"{rate['off']:.1f}, {rate['on']:.1f}"),
        at_least("sessions/s, on over off", rate["on"] / rate["off"], AIM),
        fact("CPU of api, dispatcher and verifier per session", f"{cpu['off']:.1f} ms, {cpu['on']:.1f} ms"),
        at_least("sessions per CPU second of these, on over off", cpu["off"] / cpu["on"], AIM),
        fact("traces sent", f"{receiver.bytes / 1e6:.1f} MB in {receiver.requests} requests"),
    ]
    results.show("observability", f"observed and not, {loads[0].in_flight} in flight", figures)


def _pipeline_ms(load: Load) -> float:
    return sum(load.cpu.get(name, 0.0) for name in PIPELINE) * 1e3
