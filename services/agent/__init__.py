"""The LiveKit agent worker: joins the rooms it is dispatched to, talks, and says what happened.

In: jobs from LiveKit under `LIVEKIT_AGENT_NAME`, each with a `DispatchOrder` in its attributes, and the
fence of its session in Redis. Out: an ACTIVE participant with the attempt's attributes, its steps on
the reports stream, its turns on the turns stream (and in a spool on disk until they are stored), captions
for whoever follows its session now, a heartbeat in the registry every second.

The worker (`bootstrap`, `admit`, `beat`, `resend`, `stop`) is one process. Every job (`job`, `converse`,
`turns`, `spool`) runs in a child process of its own, with its own Redis client.
"""
