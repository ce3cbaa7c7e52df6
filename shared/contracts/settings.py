"""Settings that more than one service reads, as mix-ins; each field is one environment variable.

A service's settings class inherits the mix-ins that it needs. The field's name in capitals is the
variable's name. Values come from the environment, then from a `.env` file.
"""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.contracts.broker_url import check_broker_url
from shared.contracts.database_url import POSTGRES_SCHEMES, SQLITE_SCHEME, is_postgres, read_postgres_url
from shared.contracts.names import AgentName, Deployment
from shared.contracts.redis_url import read_redis_url
from shared.contracts.url_parts import public_url


def _url_with(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in schemes or not rest:
            raise ValueError(f"must start with one of {', '.join(s + '://' for s in schemes)}")
        return value.rstrip("/")

    return AfterValidator(check)


def _server_with(*schemes: str) -> AfterValidator:
    """Return a validator for URLs with a host and, if there is a port, a valid one."""
    well_begun = _url_with(*schemes).func

    def check(value: str) -> str:
        url: str = well_begun(value)  # type: ignore[call-arg]
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as fault:
            raise ValueError(f"is no URL: {fault}") from None
        if not host or any(character.isspace() for character in url):
            raise ValueError("names no host, or has white space in it")
        if "://" in parts.netloc + parts.path or host in schemes:
            raise ValueError("has two schemes, one after the other")
        return url

    return AfterValidator(check)


def _of_redis(value: str) -> str:
    read_redis_url(value)
    return value


def _of_database(value: str) -> str:
    if is_postgres(value):
        read_postgres_url(value)
        return value
    scheme, _, rest = value.partition("://")
    if scheme != SQLITE_SCHEME or not rest:
        schemes = ", ".join(f"{one}://" for one in (SQLITE_SCHEME, *POSTGRES_SCHEMES))
        raise ValueError(f"must start with one of {schemes}")
    return value.rstrip("/")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _without_brackets(value: str) -> str:
    # As in a URL; an address that stands alone has no brackets.
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def or_port(field: str) -> AliasChoices:
    """Return the names of a field's variable: its own, or PORT, in which platforms name their port."""
    return AliasChoices(field, "port")


Host = Annotated[str, AfterValidator(_without_brackets)]
"""An address to listen on, IPv4 or IPv6; `::` means every address of both."""

CommaSeparated = BeforeValidator(_split)
"""A list in one variable, separated by commas."""


def _trimmed(value: object) -> object:
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().strip())
    return value.strip() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Base of all settings classes."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", case_sensitive=False, frozen=True, env_ignore_empty=True
    )

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip white space: a Kubernetes secret made from a file ends with a line break.

        A value of white space alone counts as not set, like an empty one.
        """
        trimmed = {name: _trimmed(value) for name, value in values.items()}
        return {name: value for name, value in trimmed.items() if value != "" or values[name] == ""}


class LogSettings(Settings):
    """How a process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json for machines, console for people; auto: console on a terminal, else json"
    )


class ProbeSettings(Settings):
    """Where a process without an HTTP server of its own serves /livez and /metrics."""

    probe_host: Host = "127.0.0.1"
    probe_port: int = Field(
        0, ge=0, le=65535, validation_alias=or_port("probe_port"), description="0: do not serve"
    )


class TracingSettings(Settings):
    """Where spans are sent; by default nowhere. OpenTelemetry's SDK reads the other OTEL_ variables."""

    # As OpenTelemetry defines them: the first is a base URL, the second a complete one. Both may hold a
    # password.
    otel_exporter_otlp_endpoint: Annotated[str, _url_with("http", "https")] | None = Field(None, repr=False)
    otel_exporter_otlp_traces_endpoint: Annotated[str, _url_with("http", "https")] | None = Field(
        None, repr=False
    )
    trace_content: bool = Field(False, description="spans may contain what is said")

    @property
    def traces_endpoint(self) -> str | None:
        """Return the URL to which spans are sent, by OTLP over HTTP; None if tracing is off."""
        base = self.otel_exporter_otlp_endpoint
        return self.otel_exporter_otlp_traces_endpoint or (f"{base}/v1/traces" if base else None)


class ProcessSettings(LogSettings, ProbeSettings, TracingSettings):
    """The settings of every process that handles sessions and has no HTTP server of its own."""


class LiveKitSettings(Settings):
    """The LiveKit server. LiveKit's own tools read the same variables."""

    livekit_url: Annotated[str, _server_with("ws", "wss", "http", "https")]
    livekit_api_key: str = Field(min_length=1)
    livekit_api_secret: SecretStr = Field(min_length=1)
    livekit_calls_per_s: float = Field(
        200.0, gt=0, description="calls of one process to LiveKit's API in a second; further calls wait"
    )
    livekit_published_on: str | None = Field(
        None, description="the address at which others reach LiveKit, if it differs from LIVEKIT_URL"
    )

    @property
    def reached_at(self) -> list[str]:
        """Return the addresses at which others may use the key pair."""
        return [self.livekit_published_on or urlsplit(self.livekit_url).hostname or ""]


class PlacementSettings(Settings):
    """Who chooses the worker: one class for the worker, the dispatcher and the verifier."""

    livekit_placement: Literal["auto", "off"] = Field(
        "auto",
        description="auto: Rollcall chooses the worker where LiveKit lets it; off: LiveKit chooses",
    )


class AgentNameSettings(Settings):
    """The agent name.

    Dispatching and registering processes share this class, so that their defaults can't differ.
    """

    livekit_agent_name: AgentName = "agent"


class RedisSettings(Settings):
    """Redis or Valkey, 7.0 or later."""

    # The repr could show a password, as with all URLs that may contain one.
    redis_url: Annotated[str, AfterValidator(_of_redis)] = Field("redis://127.0.0.1:6379/0", repr=False)


class BrokerSettings(RedisSettings):
    """Celery's broker; Redis unless BROKER_URL names another."""

    broker_url: Annotated[str, AfterValidator(check_broker_url)] | None = Field(
        None, repr=False, description="default: REDIS_URL"
    )
    broker_queue_type: Literal["classic", "quorum"] = Field(
        "classic", description="of Celery's queues on RabbitMQ; Redis has one kind"
    )

    @property
    def celery_broker_url(self) -> str:
        """The broker's URL."""
        return self.broker_url or self.redis_url


class DatabaseSettings(Settings):
    """The database: SQLite for one machine, PostgreSQL for production."""

    database_url: Annotated[str, AfterValidator(_of_database)] = Field(
        "sqlite+aiosqlite:///.rollcall/rollcall.db", repr=False
    )


class StoredTextSettings(Settings):
    """How much of a text is stored, and whether it is shown before that."""

    transcript_store: Literal["full", "metadata"] = Field(
        "full", description="metadata: only who spoke, when and for how long, not what was said"
    )
    transcript_redactor: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:function from text to text, called before a turn is stored",
    )
    live_captions: bool = Field(
        True, description="followers of a session see words while they are being said"
    )

    @property
    def captions_allowed(self) -> bool:
        """Return whether captions may be shown.

        They are never redacted, and contain text even if none may be stored.
        """
        return self.live_captions and self.transcript_store == "full" and self.transcript_redactor is None


class SessionLimitSettings(Settings):
    """How many sessions may be live at the same time; 0: no limit.

    A reservation counts once its caller comes.
    """

    max_sessions_key: int = Field(500, ge=0)
    max_sessions_project: int = Field(1000, ge=0)


class RetentionSettings(Settings):
    """How long turns and events are kept. docs/growth.md lists everything that grows."""

    transcript_retention_days: int = Field(
        0, ge=0, le=36_500, description="after this many days a session's turns are deleted; 0: never"
    )
    session_retention_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="after this many days a session without turns is deleted, with all that is told of it; "
        "0: never. One with turns is kept as long as they are",
    )


class GuaranteeSettings(Settings):
    """How often and how long Rollcall tries to get an agent."""

    dispatch_max_attempts: int = Field(3, ge=1, le=10)
    join_budget_s: float = Field(
        15.0, gt=0, le=600, description="below the 20 s after which LiveKit's client SDKs give up"
    )


def _of_fernet_keys(value: SecretStr) -> SecretStr:
    keys = value.get_secret_value().split(",")
    if not all(len(key.strip()) == 44 and key.strip().endswith("=") for key in keys):
        raise ValueError("must be 32 bytes in base64, or several such keys, separated by commas")
    return value


class WebhookSettings(Settings):
    """Webhooks out: where they may go, and how their secrets are stored."""

    webhook_allow_private: bool = Field(
        False, description="also send to private, loopback and all other non-public addresses"
    )
    webhook_allow_http: bool = Field(False, description="also without TLS")
    webhook_allowed_networks: Annotated[list[IPvAnyNetwork], NoDecode, CommaSeparated] = Field(
        [], description="also send to addresses in these networks"
    )
    webhook_secrets_key: Annotated[SecretStr, AfterValidator(_of_fernet_keys)] | None = Field(
        None, description="seals the secrets in the database: base64; several: the first seals, all open"
    )


class ApiAddressSettings(Settings):
    """Rollcall's API, for who reaches Rollcall by it. The command line reads the same variables."""

    rollcall_url: Annotated[str, _server_with("http", "https")] | None = Field(
        None, repr=False, description="the API; agent workers that have it need no Redis"
    )
    rollcall_api_key: SecretStr | None = Field(
        None, description="of the scope agent; without it a worker signs with its LiveKit key pair"
    )


class WorkerSettings(
    LiveKitSettings,
    PlacementSettings,
    AgentNameSettings,
    RedisSettings,
    StoredTextSettings,
    ProcessSettings,
):
    """How a worker reaches Rollcall, and its limits. What the agent itself is, its own code says."""

    livekit_agent_deployment: Deployment = Field("", description="LiveKit's deployment name")

    agent_max_jobs: int = Field(10, ge=1, le=1000)
    agent_spool_dir: str = Field(
        ".rollcall/spool", min_length=1, description="keeps turns until they are stored; none: no spool"
    )
    transcript_instructions: bool = Field(
        False, description="an agent's instructions are a turn of its transcript"
    )

    @property
    def content_may_be_traced(self) -> bool:
        """Whether spans may contain what is said: only if the text is stored unredacted."""
        return self.trace_content and self.transcript_store == "full" and self.transcript_redactor is None

    @property
    def public_livekit_url(self) -> str:
        """The server's URL for logs and the registry."""
        return public_url(self.livekit_url)
