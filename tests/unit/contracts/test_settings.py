"""Settings: each fault is told by the name of its variable, and nothing secret is shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.agent.settings import AgentSettings
from services.api.settings import ApiSettings
from services.dispatcher.settings import DispatcherSettings
from services.inference.settings import InferenceSettings
from services.transcripts.settings import TranscriptsSettings
from services.verifier.settings import VerifierSettings
from shared.contracts.settings import BrokerSettings, Settings
from shared.platform.config import EXIT_BAD_CONFIGURATION, load_settings

ALL: list[type[Settings]] = [
    ApiSettings,
    DispatcherSettings,
    VerifierSettings,
    AgentSettings,
    TranscriptsSettings,
    InferenceSettings,
]
WITH_LIVEKIT = [ApiSettings, DispatcherSettings, VerifierSettings, AgentSettings]
ENOUGH = {
    "LIVEKIT_URL": "ws://127.0.0.1:7880",
    "LIVEKIT_API_KEY": "devkey",
    "LIVEKIT_API_SECRET": "a-secret-of-thirty-two-characters",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with nothing of ours in it but what every service needs, and no `.env`."""
    for settings in ALL:
        for field in settings.model_fields:
            monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.delenv("PORT", raising=False)
    for name, value in ENOUGH.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def refusal(settings: type[Settings], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        load_settings(settings)
    assert left.value.code == EXIT_BAD_CONFIGURATION == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("settings", ALL)
def test_three_livekit_variables_are_enough_for_any_service(settings: type[Settings]) -> None:
    load_settings(settings)


@pytest.mark.parametrize("settings", WITH_LIVEKIT)
@pytest.mark.parametrize("missing", sorted(ENOUGH))
def test_a_missing_variable_is_named_and_the_process_leaves_with_2(
    settings: type[Settings],
    missing: str,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment.delenv(missing)
    assert f"environment variable {missing} is missing" in refusal(settings, capsys)


def test_an_empty_variable_counts_as_missing(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("LIVEKIT_URL", "")
    assert "environment variable LIVEKIT_URL is missing" in refusal(ApiSettings, capsys)


def test_all_faults_are_told_at_once(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("LIVEKIT_API_KEY")
    environment.setenv("API_PORT", "eighty")
    environment.setenv("DISPATCH_MAX_ATTEMPTS", "0")
    told = refusal(ApiSettings, capsys)
    for name in ("LIVEKIT_API_KEY", "API_PORT", "DISPATCH_MAX_ATTEMPTS"):
        assert f"environment variable {name} is" in told


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (ApiSettings, "LIVEKIT_URL", "127.0.0.1:7880"),
        (ApiSettings, "LIVEKIT_URL", "ftp://example.com"),
        (ApiSettings, "LIVEKIT_URL", "wss://"),
        (ApiSettings, "DATABASE_URL", "mysql://example.com/db"),
        (ApiSettings, "REDIS_URL", "amqp://example.com"),
        (ApiSettings, "API_PORT", "65536"),
        (ApiSettings, "LOG_LEVEL", "LOUD"),
        (ApiSettings, "LOG_FORMAT", "xml"),
        (ApiSettings, "JOIN_BUDGET_S", "0"),
        (ApiSettings, "PARTICIPANT_TOKEN_TTL_S", "1"),
        (DispatcherSettings, "DISPATCHER_CONCURRENCY", "0"),
        (DispatcherSettings, "DISPATCH_RETRY_DELAY_S", "-1"),
        (VerifierSettings, "WATCH_INTERVAL_S", "soon"),
        (VerifierSettings, "PROBE_PORT", "-1"),
        (TranscriptsSettings, "REDIS_URL", "redis://"),
        (AgentSettings, "AGENT_MAX_JOBS", "none"),
        (AgentSettings, "AGENT_LLM", "gpt-5-mini"),
    ],
)
def test_a_malformed_variable_is_named(
    settings: type[Settings],
    name: str,
    value: str,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment.setenv(name, value)
    assert f"environment variable {name} is malformed: " in refusal(settings, capsys)


@pytest.mark.parametrize("ends", ["{}\n", "{}\r\n", "\t{}", "  {} \n\n"], ids=repr)
@pytest.mark.parametrize("settings", WITH_LIVEKIT)
def test_white_space_at_the_ends_of_any_value_is_none_of_it(
    settings: type[Settings], ends: str, environment: pytest.MonkeyPatch
) -> None:
    plain = load_settings(settings)
    for name in settings.model_fields:
        value = ENOUGH.get(name.upper(), getattr(plain, name))
        if isinstance(value, str | int | float) and value != "":
            environment.setenv(name.upper(), ends.format(value))
    assert load_settings(settings) == plain
    environment.setenv("LIVEKIT_AGENT_NAME", ends.format("front  desk"))
    assert getattr(load_settings(settings), "livekit_agent_name", "front  desk") == "front  desk"


def test_a_value_of_white_space_alone_is_not_set(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BROKER_URL", " \n")
    environment.setenv("LIVEKIT_AGENT_NAME", "\n")
    assert load_settings(DispatcherSettings).broker_url is None
    assert load_settings(DispatcherSettings).livekit_agent_name == "agent"
    environment.setenv("LIVEKIT_API_SECRET", "\n")
    assert "LIVEKIT_API_SECRET is missing" in refusal(ApiSettings, capsys)


@pytest.mark.parametrize(
    "url",
    [
        "host.livekit.cloud",
        "wss://",
        "wss:///rtc",
        "wss://h:port",
        "wss://h:99999",
        "https://wss://h",
        "wss://h x",
    ],
)
def test_a_livekit_url_that_leads_nowhere_is_refused(
    url: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("LIVEKIT_URL", url)
    assert "environment variable LIVEKIT_URL is malformed" in refusal(ApiSettings, capsys)


def test_who_dispatches_and_who_registers_read_the_same_agent_name(environment: pytest.MonkeyPatch) -> None:
    assert load_settings(ApiSettings).livekit_agent_name == "agent"
    assert load_settings(AgentSettings).livekit_agent_name == "agent"
    environment.setenv("LIVEKIT_AGENT_NAME", "front desk")
    assert load_settings(ApiSettings).livekit_agent_name == "front desk"
    assert load_settings(AgentSettings).livekit_agent_name == "front desk"


def test_the_file_dot_env_fills_in_and_the_environment_wins(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("LIVEKIT_AGENT_NAME=from-file\nAPI_PORT=9000\nSOMETHING_ELSE=1\n")
    environment.setenv("API_PORT", "9001")
    settings = load_settings(ApiSettings)
    assert (settings.livekit_agent_name, settings.api_port) == ("from-file", 9001)


def test_a_fault_in_a_secret_does_not_print_it(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("REDIS_URL", "http://:hunter2hunter2@example.com")
    assert "hunter2" not in refusal(ApiSettings, capsys)


@pytest.mark.parametrize("settings", ALL)
def test_no_secret_shows_where_settings_are_printed(
    settings: type[Settings], environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LIVEKIT_INFERENCE_API_SECRET", "inference-hunter2")
    shown = f"{load_settings(settings)!r} {load_settings(settings)}"
    assert ENOUGH["LIVEKIT_API_SECRET"] not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("settings", [ApiSettings, DispatcherSettings, VerifierSettings, TranscriptsSettings])
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("REDIS_URL", "redis://user:hunter2@example.com:6379/0"),
        ("BROKER_URL", "amqp://user:hunter2@example.com"),
        ("DATABASE_URL", "postgresql://user:hunter2@example.com/rollcall"),
    ],
)
def test_no_password_inside_a_url_shows_where_settings_are_printed(
    settings: type[Settings], name: str, url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, url)
    assert "hunter2" not in repr(load_settings(settings))


def test_a_list_is_written_with_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_AGENT_NAMES", "agent, front desk ,")
    environment.setenv("ALLOWED_MODELS", "openai/*,cartesia/sonic-3")
    settings = load_settings(ApiSettings)
    assert settings.allowed_agent_names == ["agent", "front desk"]
    assert settings.allowed_models == ["openai/*", "cartesia/sonic-3"]


def test_the_broker_is_redis_unless_another_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "redis://example.com:6380/1")
    assert load_settings(BrokerSettings).celery_broker_url == "redis://example.com:6380/1"
    environment.setenv("BROKER_URL", "amqp://example.com")
    assert load_settings(BrokerSettings).celery_broker_url == "amqp://example.com"


def test_settings_cannot_be_changed_once_read() -> None:
    settings = load_settings(ApiSettings)
    with pytest.raises(ValidationError):
        settings.api_port = 1  # type: ignore[misc]
