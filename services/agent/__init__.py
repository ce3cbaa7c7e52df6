"""The LiveKit agent worker: joins the rooms to which it is dispatched, talks, and reports what happens.

In: jobs from LiveKit under `LIVEKIT_AGENT_NAME`, each with a `DispatchOrder` in its attributes, and the fence
of its session in Redis. Out: an ACTIVE participant with the attempt's attributes, its steps on the reports
stream, its turns on the turns stream (and in a spool on disk until they are stored), captions for the current
followers of its session, and a heartbeat in the registry every second.

The worker (`bootstrap`, `worker/`, `spool/resend`) is one process. Every job (`job/`, `spool/spool`) runs in
a child process of its own, with its own Redis client.
"""
