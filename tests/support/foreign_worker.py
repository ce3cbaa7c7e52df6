"""A livekit-agents worker without any knowledge of Rollcall; it stays in the room until the room closes.

With TOLD, the path of a file, it writes down what each job's metadata is, a line of JSON for each. With GO,
the path of a file, it imports everything, which takes seconds, and registers once that file exists.
"""

import json
import math
import os
import time
from pathlib import Path

from livekit.agents import AgentServer, JobContext, JobExecutorType, cli

from tests.support.shared_media import outlive_panics

# By default a worker reports the host's CPU load, and LiveKit skips it while the tests keep the host busy.
server = AgentServer(
    job_executor_type=JobExecutorType.THREAD,
    num_idle_processes=1,
    load_threshold=math.inf,
    load_fnc=lambda _: 0.1,
    port=0,
)


def tell(ctx: JobContext) -> None:
    """Record the job, if the environment asks for it."""
    if told := os.environ.get("TOLD"):
        with Path(told).open("a") as file:
            file.write(json.dumps([ctx.job.room.name, ctx.job.metadata]) + "\n")


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    tell(ctx)
    await ctx.connect()


def wait_until_told_to_go() -> None:
    go = os.environ.get("GO")
    print("imported", flush=True)
    while go is not None and not Path(go).exists():
        time.sleep(0.02)


if __name__ == "__main__":
    wait_until_told_to_go()
    outlive_panics()
    cli.run_app(server)
