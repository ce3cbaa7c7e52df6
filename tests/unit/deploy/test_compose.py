"""docker-compose.yml: each service has what it reads and no more, and nothing is open to others by itself."""

import importlib
import inspect
import re
from typing import Final

import pytest
from pydantic_settings import BaseSettings

from devstack.services import ALL_SERVICES
from shared.contracts.exposure import PUBLISHED_SECRETS, why_exposed
from shared.contracts.settings import LiveKitSettings, TracingSettings
from shared.core.migrate import MigrationSettings
from tests.support.compose import SERVICES, environment_of, filled_in

OURS: Final = ("guard", "migrate", *ALL_SERVICES)
# OpenTelemetry's SDK reads them itself.
OF_OPENTELEMETRY: Final = {
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
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
