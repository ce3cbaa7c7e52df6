"""The servers of a stack: LiveKit and Redis.

The stack runs each itself unless the environment names another.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.ports import Ports
from devstack.probes import http_ready, tcp_ready
from devstack.process import ProcessSpec
from devstack.provision import livekit, redis
from devstack.provision.server import ProvisionError, Tell

LIVEKIT_PORT: Final = 7880
LIVEKIT_UDP_PORT: Final = 7882
REDIS_PORT: Final = 6379


@dataclass(frozen=True)
class LiveKitServer:
    """A LiveKit server and its key pair. `spec` is set if the stack runs the server."""

    url: str
    api_key: str
    api_secret: str
    spec: ProcessSpec | None = None


@dataclass(frozen=True)
class RedisServer:
    """A Redis server. `spec` is set if the stack runs it."""

    url: str
    spec: ProcessSpec | None = None


async def plan_redis(state: Path, env: Mapping[str, str], *, ports: Ports) -> RedisServer:
    """Use REDIS_URL, or plan a server with its data in the state folder."""
    if url := env.get("REDIS_URL"):
        return RedisServer(url)
    program = await redis.find_redis_server()
    port = ports.take(REDIS_PORT, what="Redis")
    config = state / "redis.conf"
    redis.write_config(config, port=port, data=state / "redis")
    spec = ProcessSpec(
        name="redis",
        command=[str(program), str(config.resolve())],
        env=env,
        cwd=state,
        log_file=state / "logs" / "redis.log",
        ready=tcp_ready(port),
    )
    return RedisServer(f"redis://127.0.0.1:{port}/0", spec)


async def plan_livekit(
    state: Path, env: Mapping[str, str], *, ports: Ports, api_port: int | None, tell: Tell
) -> LiveKitServer:
    """Use LIVEKIT_URL with its key pair, or plan a server with a new key pair."""
    if url := env.get("LIVEKIT_URL"):
        return LiveKitServer(url, _require(env, "LIVEKIT_API_KEY"), _require(env, "LIVEKIT_API_SECRET"))
    program = await livekit.ensure_livekit_server(env, tell=tell)
    key, secret = _key_pair(state / "livekit-key.json")
    listening = livekit.LiveKitPorts(
        http=ports.take(LIVEKIT_PORT, what="LiveKit"),
        udp=ports.take(LIVEKIT_UDP_PORT, what="LiveKit's media"),
    )
    config = state / "livekit.yaml"
    webhook = f"http://127.0.0.1:{api_port}/v1/livekit/webhook" if api_port else None
    livekit.write_config(config, ports=listening, key=key, secret=secret, webhook_url=webhook)
    spec = ProcessSpec(
        name="livekit",
        command=[str(program), "--config", str(config.resolve())],
        env=env,
        cwd=state,
        log_file=state / "logs" / "livekit.log",
        ready=http_ready(f"http://127.0.0.1:{listening.http}/"),
        # The server would wait for the last participant to leave; killing it loses nothing.
        stop_grace_s=1.0,
    )
    return LiveKitServer(f"ws://127.0.0.1:{listening.http}", key, secret, spec)


def _require(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name):
        return value
    raise ProvisionError(
        f"LIVEKIT_URL is set and {name} is not: set both, or unset LIVEKIT_URL for a local server"
    )


def _key_pair(file: Path) -> tuple[str, str]:
    """Return the random key pair of this state folder. It stays the same, so that other tools can use it."""
    if not file.exists():
        file.touch(mode=0o600)
        pair = {"api_key": f"API{secrets.token_hex(6)}", "api_secret": secrets.token_urlsafe(36)}
        file.write_text(json.dumps(pair, indent=2))
    stored = json.loads(file.read_text())
    return stored["api_key"], stored["api_secret"]
