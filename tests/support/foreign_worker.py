"""A livekit-agents worker that knows nothing of Rollcall; it stays in the room until the room closes."""

import math

from livekit.agents import AgentServer, JobContext, JobExecutorType, cli

# By default a worker reports the host's CPU load, and LiveKit passes it over while the tests keep the
# host busy.
server = AgentServer(
    job_executor_type=JobExecutorType.THREAD,
    num_idle_processes=1,
    load_threshold=math.inf,
    load_fnc=lambda _: 0.1,
    port=0,
)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(server)
