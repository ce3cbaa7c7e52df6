"""A second LiveKit server beside a stack's own: both are nodes of one LiveKit, which share a Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import yaml

from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process
from devstack.stack import Stack

# The stack's services use the first database of its Redis.
LIVEKITS_DATABASE = 1


@asynccontextmanager
async def second_node(stack: Stack) -> AsyncIterator[str]:
    """Yield the URL of a second node. The stack's own node is restarted for it, and again at the end."""
    first = stack.process("livekit")
    file = stack.state / "livekit.yaml"
    alone = file.read_text()
    redis = {"address": urlsplit(stack.env["REDIS_URL"]).netloc, "db": LIVEKITS_DATABASE}
    config: dict[str, Any] = {**yaml.safe_load(alone), "redis": redis}
    file.write_text(yaml.safe_dump(config))
    http, udp = free_port(), free_port()
    its_file = stack.state / "livekit-2.yaml"
    its_file.touch(mode=0o600)
    its_file.write_text(yaml.safe_dump({**config, "port": http, "rtc": {**config["rtc"], "udp_port": udp}}))
    spec = replace(
        first.spec,
        name="livekit-2",
        command=[first.spec.command[0], "--config", str(its_file)],
        log_file=stack.logs / "livekit-2.log",
        ready=http_ready(f"http://127.0.0.1:{http}/"),
    )
    second = Process(spec, notify=lambda *_: None)
    try:
        await _restart(first)
        await second.start()
        yield f"ws://127.0.0.1:{http}"
    finally:
        await second.stop()
        file.write_text(alone)
        await _restart(first)


async def _restart(process: Process) -> None:
    await process.stop()
    await process.start()
