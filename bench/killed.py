"""Turns from the stream to rows at 2,500 a second, while the consumer is killed again and again.

The consumer is killed by SIGKILL every ten seconds and started again by its supervisor, as in a deployment. A
turn that is sent in the second half of the time between two kills counts for the time from XADD to the
committed row: by then a consumer that keeps up has worked off what waited. Afterwards every turn must be
stored, and each of them once.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.options import Options, Results, at_most, fact, say
from bench.turns import Lab, commits, event_of, notify_commits, running_lab, until_drained
from devstack.provision.postgres import running_postgres
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, TURNS_STREAM

AIM_P99_MS = 50.0
TURNS_PER_S = 2_500
KILLED_EVERY_S = 10.0
TICK_S = 0.01
STORED_TIMEOUT_S = 120.0


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    kills = chosen.pick_rounds(short=2, full=6)
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder, running_postgres() as postgres:
        async with running_lab(Path(folder), postgres) as lab:
            await notify_commits(lab)
            async with commits(lab) as committed:
                sent, killed = await _send(lab, kills)
                late = time.perf_counter()
                async with asyncio.timeout(STORED_TIMEOUT_S):
                    await until_drained(lab)
                caught_up_s = time.perf_counter() - late
                stored = await lab.db.fetchval("SELECT count(*) FROM transcript_item")
                twice = await lab.db.fetchval(
                    "SELECT count(*) - count(DISTINCT (session_id, attempt, seq)) FROM transcript_item"
                )
                refused = await lab.redis.xlen(DEAD_LETTERS_STREAM)
    calm = [
        committed[item] - at
        for item, at in sent.items()
        if item in committed and any(KILLED_EVERY_S / 2 <= at - kill < KILLED_EVERY_S for kill in killed)
    ]
    every = [committed[item] - at for item, at in sent.items() if item in committed]
    results.show(
        "killed",
        f"{TURNS_PER_S} turns a second, the consumer killed {len(killed)} times",
        [
            fact("turns sent", f"{len(sent):,}"),
            at_most("turns lost", float(len(sent) - stored), 0.0, shown="{:.0f}"),
            at_most("turns stored twice", float(twice), 0.0, shown="{:.0f}"),
            at_most("turns refused", float(refused), 0.0, shown="{:.0f}"),
            fact("XADD to committed row between kills, p50", f"{1e3 * statistics.median(calm):.1f} ms"),
            at_most(
                "XADD to committed row between kills, p99, ms",
                1e3 * statistics.quantiles(calm, n=100)[98],
                AIM_P99_MS,
                shown="{:.0f}",
            ),
            fact("the slowest turn of all", f"{max(every):.1f} s"),
            fact("until all was stored, after the last turn", f"{caught_up_s:.2f} s"),
        ],
    )


async def _send(lab: Lab, kills: int) -> tuple[dict[str, float], list[float]]:
    """Send turns by the clock; return when each was sent, and when the consumer was killed."""
    sent: dict[str, float] = {}
    killed: list[float] = []
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + (kills + 1) * KILLED_EVERY_S:
        if now >= began + (len(killed) + 1) * KILLED_EVERY_S and len(killed) < kills:
            lab.consumer.kill()
            killed.append(now)
            say(f"the consumer is killed, after {len(sent):,} turns")
        due = int((now - began) * TURNS_PER_S) - len(sent)
        async with lab.redis.pipeline(transaction=False) as pipe:
            turns = list(lab.turns(due))
            for turn in turns:
                pipe.xadd(TURNS_STREAM, {ENVELOPE_FIELD: event_of(turn)})
            at = time.perf_counter()
            sent.update((turn.item_id, at) for turn in turns)
            await pipe.execute()
        await asyncio.sleep(TICK_S)
    return sent, killed
