"""Give a livekit-agents agent of one's own what Rollcall's built-in agent has, with two lines.

    server = AgentServer()
    rollcall = Rollcall(server)

Everything else in the agent's file stays as it is: the entrypoint, the sessions, tools and handoffs. Inside
of a job `current()` tells about the session. Without Rollcall around, the agent runs as if this package were
not there, and `current()` is None.

In: jobs from LiveKit under the agent's name, each with a `DispatchOrder` in its attributes, and the fence of
its session. Out: an ACTIVE participant with the attempt's attributes, its steps on the reports stream, its
turns on the turns stream (and in a spool on disk until they are stored), captions for the current followers
of its session, and a heartbeat in the registry every second. The worker (`worker/`, `spool/resend`) is the
server's process; every job (`job/`, `spool/spool`) has its own, with its own way to Rollcall (`transport`).
"""

from rollcall_agent.job.rollcall_job import RollcallJob, current
from rollcall_agent.qualification import Objection, Qualification
from rollcall_agent.rollcall import Rollcall

__all__ = ["Objection", "Qualification", "Rollcall", "RollcallJob", "current"]
