"""A livekit-agents worker without any knowledge of Rollcall, which does what the job's metadata says.

`{"behaviour": "rejects"}` and so on; without one it joins and stays. ODD_EXECUTOR=process gives each job a
process of its own, without which a job that exits would take the worker with it.
"""

import asyncio
import json
import math
import os
import signal

from livekit.agents import AgentServer, JobContext, JobExecutorType, JobRequest, cli

from tests.support.shared_media import outlive_panics

server = AgentServer(
    job_executor_type=JobExecutorType(os.environ.get("ODD_EXECUTOR", "thread")),
    num_idle_processes=2,
    # The host's load is not the subject here.
    load_threshold=math.inf,
    load_fnc=lambda _: 0.1,
    port=0,
)


_tried: set[str] = set()  # rooms in which "fails at first" has failed


def behaviour(metadata: str) -> str:
    """Return what the session asks this worker to do."""
    try:
        return str(json.loads(metadata).get("behaviour", "stays"))
    except ValueError:
        return "stays"


async def on_request(request: JobRequest) -> None:
    """Take the job, or not."""
    match behaviour(request.job.metadata):
        case "rejects":
            await request.reject(terminate=False)
        case "rejects for good":
            await request.reject(terminate=True)
        case "hangs in on_request":
            await asyncio.Event().wait()
        case "listens at once":
            await request.accept(attributes={"lk.agent.state": "listening"})
        case _:
            await request.accept()


@server.rtc_session(on_request=on_request)
async def entrypoint(ctx: JobContext) -> None:
    """Join, or fail in the requested way."""
    how = behaviour(ctx.job.metadata)
    if how == "never connects":
        await asyncio.Event().wait()
    if how == "fails at first" and ctx.job.room.name not in _tried:
        _tried.add(ctx.job.room.name)
        raise RuntimeError("before connecting, the first time")
    if how == "raises before connecting":
        raise RuntimeError("before connecting")
    if how == "exits":
        os._exit(7)
    await ctx.connect()
    if how == "raises after connecting":
        raise RuntimeError("after connecting")
    if how == "leaves":
        await asyncio.sleep(2)
        ctx.shutdown("has other plans")
    if how == "leaves the room":
        await asyncio.sleep(2)
        await ctx.room.disconnect()
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    outlive_panics()
    cli.run_app(server)
