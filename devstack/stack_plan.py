"""Plan a stack: which server and service runs where, and with which variables."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devstack.environment import user_environment
from devstack.ports import Ports
from devstack.process import ProcessSpec
from devstack.provision.server import Tell
from devstack.servers import LiveKitServer, RedisServer, plan_livekit, plan_redis
from devstack.services import (
    ALL_SERVICES,
    REPOSITORY,
    SERVICE_PORTS,
    ServiceContext,
    migration_spec,
    replica_names,
    service_spec,
)

DEFAULT_AGENT_NAME: Final = "agent"
# No service needs the user's own key.
_OF_THE_COMMAND_LINE: Final = frozenset({"ROLLCALL_API_KEY"})


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """The options of a stack.

    `env` holds the user's variables; REDIS_URL, LIVEKIT_URL, DATABASE_URL and LIVEKIT_INFERENCE_URL replace
    the parts that they name. `replicas` is how many processes of a service to run, if not one; the others are
    named `agent-2`, … `service_env` holds variables for a service (`agent`) or for one replica (`agent-2`).
    With `webhooks`, our LiveKit server sends webhooks to the API. With `fixed_ports`, the stack uses the
    well-known ports or the next free ones, otherwise random free ones. With `restart`, processes that die are
    started again. The services run in the folder `cwd`; default: the state folder.
    """

    state: Path
    env: Mapping[str, str] = field(default_factory=user_environment)
    services: Collection[str] = ALL_SERVICES
    replicas: Mapping[str, int] = field(default_factory=dict)
    service_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fixed_ports: bool = False
    webhooks: bool = True
    restart: bool = True
    cwd: Path | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for an unknown service."""
        if unknown := {*self.services, *self.replicas} - set(ALL_SERVICES):
            raise ValueError(f"no such service: {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class Plan:
    """The processes to run, and `env`, the variables that every service gets."""

    env: Mapping[str, str]
    specs: list[ProcessSpec]
    api_port: int | None


async def plan_stack(options: StackOptions, *, tell: Tell) -> Plan:
    """Return the plan. It starts nothing, but may have to build LiveKit. Raises `ProvisionError`."""
    ports = Ports(fixed=options.fixed_ports, tell=tell)
    api_port = ports.take(SERVICE_PORTS["api"], what="the API") if "api" in options.services else None
    redis = await plan_redis(options.state, options.env, ports=ports)
    webhook_port = api_port if options.webhooks else None
    livekit = await plan_livekit(options.state, options.env, ports=ports, api_port=webhook_port, tell=tell)
    services = _wanted_services(options, local_livekit=livekit.spec is not None)
    inference_port = None
    if "inference" in services:
        inference_port = ports.take(SERVICE_PORTS["inference"], what="inference")
    servers = [spec for spec in (redis.spec, livekit.spec) if spec is not None]
    context = ServiceContext(
        env=_shared_env(options, redis, livekit, inference_port),
        cwd=options.cwd or options.state,
        logs=options.state / "logs",
        ports=ports,
        api_port=api_port,
        inference_port=inference_port,
        restart=options.restart,
        after=(*(spec.name for spec in servers), "migrate"),
    )
    specs = [*servers, migration_spec(context), *_service_specs(options, services, context)]
    return Plan(context.env, specs, api_port)


def _wanted_services(options: StackOptions, *, local_livekit: bool) -> list[str]:
    services = [service for service in ALL_SERVICES if service in options.services]
    # The stand-in is useful only with our own LiveKit server: LiveKit Cloud has the real Inference.
    if "inference" in services and (not local_livekit or "LIVEKIT_INFERENCE_URL" in options.env):
        services.remove("inference")
    return services


def _service_specs(options: StackOptions, services: list[str], context: ServiceContext) -> list[ProcessSpec]:
    specs: list[ProcessSpec] = []
    for service in services:
        # The agent stops first, because ending its calls needs all other services.
        others = tuple(spec.name for spec in specs) if service == "agent" else ()
        for name in replica_names(service, options.replicas.get(service, 1)):
            own_env = {**options.service_env.get(service, {}), **options.service_env.get(name, {})}
            specs.append(service_spec(service, name, context, own_env=own_env, outlived_by=others))
    return specs


def _shared_env(
    options: StackOptions, redis: RedisServer, livekit: LiveKitServer, inference_port: int | None
) -> dict[str, str]:
    inference = {"LIVEKIT_INFERENCE_URL": f"http://127.0.0.1:{inference_port}/v1"} if inference_port else {}
    python_path = [str(REPOSITORY), *filter(None, [options.env.get("PYTHONPATH")])]
    defaults = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{options.state / 'rollcall.db'}",
        "LIVEKIT_AGENT_NAME": DEFAULT_AGENT_NAME,
        "AGENT_SPOOL_DIR": str(options.state / "spool"),
        "LOG_FORMAT": "json",
    }
    return {
        **defaults,
        **{name: value for name, value in options.env.items() if name not in _OF_THE_COMMAND_LINE},
        "REDIS_URL": redis.url,
        "LIVEKIT_URL": livekit.url,
        "LIVEKIT_API_KEY": livekit.api_key,
        "LIVEKIT_API_SECRET": livekit.api_secret,
        **inference,
        # Services run in another folder, perhaps with a Python in which this package is not installed.
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONUNBUFFERED": "1",
    }
