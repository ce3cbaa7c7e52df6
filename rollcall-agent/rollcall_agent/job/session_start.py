"""Have Rollcall's job see each agent session as it starts.

livekit-agents 1.8.9 has no hook before the start of a session. Three things have to be done before it: give
the agent the conversation that it takes over, listen for the first events, and close the session host. So
`AgentSession.start` is replaced, in a job's process alone. Outside of Rollcall's jobs it does what it did.
"""

import functools
from typing import Any

from livekit.agents import Agent, AgentSession
from livekit.agents.job import get_job_context

from rollcall_agent.job.running_job import RunningJob

_start = AgentSession.start


@functools.wraps(_start)
async def _observed_start(self: AgentSession[Any], agent: Agent, **options: Any) -> Any:
    ctx = get_job_context(required=False)
    job = RunningJob.of(ctx) if ctx is not None else None
    if job is None or not options.get("room"):
        return await _start(self, agent, **options)
    return await job.start_session(self, agent, options, functools.partial(_start, self))


def hook_session_start() -> None:
    """Replace `AgentSession.start` in this process, once."""
    AgentSession.start = _observed_start  # type: ignore[method-assign]
