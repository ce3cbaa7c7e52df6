"""The fork server imports this module once, before it forks a job's process; nothing else imports it.

A SIGTERM that a terminal or a supervisor sends to the whole process group is meant for the worker. The SDK's
job processes ignore it only under `spawn`. Under `forkserver` it would kill the fork server, and the worker
would consider all its calls dead. Every fork inherits the signals that are ignored here.
"""

import importlib
import signal
from contextlib import suppress
from typing import Final

import livekit.local_inference
from livekit.agents.utils import http_context

# Imported once here, shared by all jobs.
import rollcall_agent.job.running_job
import rollcall_agent.ways  # noqa: F401

# Modules that the SDK otherwise imports during a call; each would block the event loop for 0.1 s to 2 s.
_IMPORTED_LATE: Final = (
    "anyio._backends._asyncio",
    "openai.resources.models",
    "openai.lib.streaming.chat",
    "livekit.agents.inference.realtime",
    "livekit.agents.llm.async_toolset",
)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
livekit.local_inference.init_vad()
# The SDK keeps one for each process, and reads the whole CA bundle for it: here that delays no call.
http_context._create_ssl_context()
for module in _IMPORTED_LATE:
    with suppress(ImportError):
        importlib.import_module(module)
