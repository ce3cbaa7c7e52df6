"""Run the benchmarks: `python -m bench` (`--short` for a quick look)."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench.join import bench_join
from cli.environment import clean_environment
from cli.stack import Stack

SERVICES = ["inference", "api", "dispatcher", "verifier", "transcripts", "agent"]


async def _run(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder:
        print("starting a stack of its own …", flush=True)
        options = {"services": SERVICES, "webhooks": False}
        async with Stack(Path(folder), env=clean_environment(), tell=print, **options) as stack:
            await bench_join(stack, rounds=rounds)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="sessions of each kind")
    parser.add_argument("--short", action="store_true", help="5 rounds")
    arguments = parser.parse_args()
    asyncio.run(_run(5 if arguments.short else arguments.rounds))


if __name__ == "__main__":
    main()
