"""docker-compose.yml: each service has what it reads and no more, and nothing is open to others by itself."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from pydantic_settings import BaseSettings

from devstack.services import ALL_SERVICES
from shared.contracts.exposure import PUBLISHED_SECRETS, why_exposed
from shared.contracts.settings import LiveKitSettings, TracingSettings
from shared.core.migrate import MigrationSettings

ROOT: Final = Path(__file__).parents[3]
SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
OURS: Final = ("guard", "migrate", *ALL_SERVICES)
# OpenTelemetry's SDK reads them itself.
OF_OPENTELEMETRY: Final = {
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
}
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-((?:[^${}]|\$\{[^}]*\})*))?\}")
COMMANDS: Final = {
    "guard": "shared.platform.config",
    "api": "services.api",
    "dispatcher": "services.dispatcher",
    "verifier": "services.verifier",
    "agent": "services.agent",
}


def settings_of(service: str) -> type[BaseSettings]:
    if service == "guard":
        return LiveKitSettings
    if service == "migrate":
        return MigrationSettings
    module = importlib.import_module(f"services.{service}.settings")
    [found] = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, BaseSettings) and value.__module__ == module.__name__
    ]
    return found


def filled_in(text: str, env: Mapping[str, str]) -> str:
    """A value as Compose makes it; a default may have a variable in it."""
    while match := _VARIABLE.search(text):
        value = env.get(match[1]) or match[2] or ""
        text = text[: match.start()] + value + text[match.end() :]
    return text


def environment_of(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What Compose gives to a service where `.env` has this."""
    given: dict[str, str | None] = SERVICES[service].get("environment", {})
    made = {name: env.get(name) if value is None else filled_in(value, env) for name, value in given.items()}
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize("service", OURS)
def test_each_service_is_given_what_it_reads_and_nothing_else(service: str) -> None:
    settings = settings_of(service)
    reads = {name.upper() for name in settings.model_fields}
    if issubclass(settings, TracingSettings):
        reads |= OF_OPENTELEMETRY
    given = set(SERVICES[service]["environment"])
    assert given == reads, "docker-compose.yml names each variable that a service reads, and no other"
    assert "env_file" not in SERVICES[service], "that would be everything, other services' secrets too"


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_confined(service: str) -> None:
    one = SERVICES[service]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["mem_limit"]
    assert one["pids_limit"] > 0
    assert not set(one.get("cap_add", [])) - {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert not {"privileged", "network_mode", "pid", "ipc"} & one.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_of_others_is_an_exact_version(service: str) -> None:
    one = SERVICES[service]
    if "build" not in one:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?(@sha256:[0-9a-f]{64})?$", one["image"]), one["image"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_published_beyond_this_machine_unless_somebody_says_so(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert filled_in(port, {}).startswith("127.0.0.1:"), port


def test_redis_asks_for_a_password_and_every_client_has_it() -> None:
    env = {"REDIS_PASSWORD": "chosen"}
    assert "--requirepass chosen" in filled_in(SERVICES["redis"]["command"], env)
    assert "protected-mode" not in SERVICES["redis"]["command"]
    for service in OURS:
        url = environment_of(service, env).get("REDIS_URL")
        assert url in (None, "redis://:chosen@redis:6379/0")


def test_the_secret_of_the_compose_file_is_known_to_be_published() -> None:
    assert environment_of("api", {})["LIVEKIT_API_SECRET"] in PUBLISHED_SECRETS


@pytest.mark.parametrize("service", COMMANDS)
def test_beyond_this_machine_nothing_starts_with_the_published_secret(service: str, tmp_path: Path) -> None:
    bind = "192.0.2.7"
    env = environment_of(service, {"BIND_ADDRESS": bind, "API_AUTH": "keys"})
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, "-m", COMMANDS[service]],
        env={**env, **path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "LIVEKIT_API_SECRET is a published one" in ended.stderr
    assert bind in ended.stderr
    assert "openssl rand" in ended.stderr, "it says what to do"


def test_livekit_is_not_started_before_its_secret_was_looked_at() -> None:
    assert SERVICES["livekit"]["depends_on"]["guard"] == {"condition": "service_completed_successfully"}
    assert SERVICES["guard"]["restart"] == "no"
    keys = filled_in(SERVICES["livekit"]["environment"]["LIVEKIT_KEYS"], {})
    guarded = environment_of("guard", {})
    assert keys == f"{guarded['LIVEKIT_API_KEY']}: {guarded['LIVEKIT_API_SECRET']}"


@pytest.mark.parametrize("secret", [*sorted(PUBLISHED_SECRETS), "s" * 31])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "livekit.example.com", "10.0.0.1", ""])
def test_a_secret_that_is_none_is_refused_wherever_others_are(secret: str, address: str) -> None:
    why = why_exposed(secret, ["127.0.0.1", address])
    assert why is not None
    assert secret not in why or secret == "secret", "what might be somebody's secret is not shown"
    assert why_exposed(secret, ["127.0.0.1", "::1", "localhost"]) is None
    assert why_exposed("x" * 32, [address]) is None
