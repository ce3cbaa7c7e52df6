"""How each service is run: its command, its port, its probe, and how it is stopped."""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.ports import Ports
from devstack.probes import agent_registered, http_ready
from devstack.process import Probe, ProcessSpec

ALL_SERVICES: Final = ("inference", "api", "dispatcher", "verifier", "transcripts", "webhooks", "agent")

REPOSITORY: Final = Path(__file__).parents[1]

# The port of the service or, if it has no HTTP server of its own, of its probe.
SERVICE_PORTS: Final = {
    "api": 8080,
    "inference": 8090,
    "dispatcher": 8091,
    "verifier": 8092,
    "transcripts": 8093,
    "agent": 8094,
    "webhooks": 8095,
}

# Services with an HTTP server of their own.
_SERVES_HTTP: Final = ("api", "inference")

# How long a service may take to finish its work when the stack is stopped.
STOP_GRACE_S: Final = 4.0
# Longer, because the agent first ends its running calls.
AGENT_STOP_GRACE_S: Final = 8.0
# Loading speech models on a busy machine is slow.
READY_TIMEOUT_S: Final = 90.0


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """What all services of a stack share. `after` names the processes that they need."""

    env: Mapping[str, str]
    cwd: Path
    logs: Path
    ports: Ports
    api_port: int | None
    inference_port: int | None
    restart: bool
    after: tuple[str, ...]

    @property
    def api_url(self) -> str | None:
        """The API's address; None if this stack has no API."""
        return f"http://127.0.0.1:{self.api_port}" if self.api_port else None


def port_variable(service: str) -> str:
    """Return the variable that sets the port on which a service answers, including its metrics."""
    return f"{service.upper()}_PORT" if service in _SERVES_HTTP else "PROBE_PORT"


def replica_names(service: str, replicas: int) -> list[str]:
    """Return the process names of a service: `agent`, `agent-2`, and so on."""
    return [service if number == 1 else f"{service}-{number}" for number in range(1, replicas + 1)]


def migration_spec(context: ServiceContext) -> ProcessSpec:
    """Return the one-shot process that brings the database's schema up to date."""
    return ProcessSpec(
        name="migrate",
        command=[sys.executable, "-m", "shared.core.migrate"],
        env=context.env,
        cwd=context.cwd,
        log_file=context.logs / "migrate.log",
        one_shot=True,
    )


def service_spec(
    service: str,
    name: str,
    context: ServiceContext,
    *,
    own_env: Mapping[str, str],
    outlived_by: tuple[str, ...],
) -> ProcessSpec:
    """Return one replica of a service; `own_env` overrides the variables set here."""
    env, ready = _address(service, name, context)
    is_agent = service == "agent"
    return ProcessSpec(
        name=name,
        command=[sys.executable, "-m", f"services.{service}"],
        env={**context.env, **env, **own_env},
        cwd=context.cwd,
        log_file=context.logs / f"{name}.log",
        ready=ready,
        after=context.after,
        outlived_by=outlived_by,
        restart=context.restart,
        ready_timeout_s=READY_TIMEOUT_S,
        # On SIGTERM, the agent lets its calls end by themselves, which may take an hour.
        stop_signal=signal.SIGINT if is_agent else signal.SIGTERM,
        stop_grace_s=AGENT_STOP_GRACE_S if is_agent else STOP_GRACE_S,
    )


def _address(service: str, name: str, context: ServiceContext) -> tuple[dict[str, str], Probe]:
    """Return the variables with this replica's address, and its probe."""
    if service in _SERVES_HTTP:
        first = {"api": context.api_port, "inference": context.inference_port}
        port = first.get(name) or context.ports.take(SERVICE_PORTS[service], what=name)
        env = {f"{service.upper()}_HOST": "127.0.0.1", port_variable(service): str(port)}
        return env, http_ready(f"http://127.0.0.1:{port}/readyz")
    port = context.ports.take(SERVICE_PORTS[service], what=name)
    env = {"PROBE_HOST": "127.0.0.1", port_variable(service): str(port)}
    if service != "agent":
        return env, http_ready(f"http://127.0.0.1:{port}/readyz")
    alive = http_ready(f"http://127.0.0.1:{port}/livez")
    # A worker may answer before it is registered at LiveKit; only the registry shows that.
    ready = agent_registered(context.env["REDIS_URL"]) if context.api_url else alive
    return {**env, "AGENT_HTTP_PORT": "0"}, ready
