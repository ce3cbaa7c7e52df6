"""The built-in LiveKit agent worker: an example of a user of `rollcall_agent`, its models and its prompt.

In: jobs from LiveKit under `LIVEKIT_AGENT_NAME`, each with a `DispatchOrder` in its attributes. Out: a
conversation. What is reported, published and resumed around it is the library's part (see `rollcall_agent`).

The worker (`bootstrap`) is one process. Every job (`converse`) runs in a child process of its own.
"""
