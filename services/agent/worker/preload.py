"""Imported once by the fork server, before any job's process is forked from it; not imported elsewhere.

A SIGTERM that a terminal or a supervisor sends to the whole process group is meant for the worker. The
SDK's job processes ignore it only under `spawn`; under `forkserver` the fork server would die of it, and
the worker would take all its calls for dead. What is ignored here is inherited by every fork.
"""

import importlib
import signal
from contextlib import suppress
from typing import Final

import livekit.local_inference
from livekit.agents.utils import http_context

import services.agent.job.job  # noqa: F401  (imported once here, shared by all jobs)

# What the SDK imports at its first use in a call, 0.1 s to 2 s of a blocked event loop each.
_IMPORTED_LATE: Final = (
    "anyio._backends._asyncio",
    "openai.resources.models",
    "openai.lib.streaming.chat",
    "livekit.agents.inference.realtime",
    "livekit.agents.llm.async_toolset",
)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
livekit.local_inference.init_vad()
# The SDK keeps one for each process and reads the whole CA bundle for it: better here than in a call.
http_context._create_ssl_context()
for module in _IMPORTED_LATE:
    with suppress(ImportError):
        importlib.import_module(module)
