"""Run benchmarks: `python -m bench NAME`; `--help` lists them."""

import argparse
import importlib
import logging
import sys
import time

from aiohttp import ClientError
from livekit.api import ServerError
from livekit.rtc import ConnectError

from bench.options import BenchFailed, Options, Results, console, say
from bench.stacks import kill_all
from cli.interrupt import run_until_interrupted
from devstack.provision.server import ProvisionError

FAILURES = (BenchFailed, ProvisionError, TimeoutError, ClientError, ServerError, ConnectError)
NAMES = (
    "join",
    "burst",
    "ghost",
    "causes",
    "revive",
    "throughput",
    "cost",
    "outage",
    "transcripts",
    "killed",
    "sse",
    "agents",
    "api",
    "observability",
)


async def _run(names: list[str], chosen: Options) -> int:
    results, failed = Results(), []
    for name in names:
        console.rule(name)
        started = time.monotonic()
        try:
            await importlib.import_module(f"bench.{name}").run(chosen, results)
        except FAILURES as failure:
            failed.append(name)
            console.print(f"{name} could not be measured: {failure or repr(failure)}", style="bold red")
        say(f"{name} took {time.monotonic() - started:.0f} s")
    if len(names) > 1:
        results.show_summary()
    return 1 if failed else 0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--short", action="store_true", help="a quick look: little of everything")
    parser.add_argument("--rounds", type=int, help="how often to repeat")
    parser.add_argument("--sessions", type=int, help="how many at once in burst, pending in outage")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL; default: SQLite")
    options = parser.parse_args()
    # The SDK's native part logs rooms that were closed by the server, which is normal here.
    logging.getLogger("livekit").setLevel(logging.ERROR)
    names = list(NAMES) if options.name == "all" else [options.name]
    chosen = Options(options.short, options.rounds, options.sessions, options.postgres)
    code = run_until_interrupted(
        _run(names, chosen), hurry=kill_all, said=lambda: say("stopping …  (Ctrl-C again: at once)")
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
