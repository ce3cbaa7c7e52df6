"""Give a livekit-agents agent of one's own what Rollcall's built-in agent has, with two lines.

    server = AgentServer()
    rollcall = Rollcall(server)

Everything else in the agent's file stays as it is: the entrypoint, the sessions, tools and handoffs. Inside
of a job `current()` tells about the session. Without Rollcall around, the agent runs as if this package were
not there, and `current()` is None.
"""

from rollcall_agent.job import RollcallJob, current
from rollcall_agent.rollcall import Rollcall

__all__ = ["Rollcall", "RollcallJob", "current"]
