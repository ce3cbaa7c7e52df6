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
from shared.contracts.names import AgentName
from shared.contracts.redis_url import read_redis_url


def _url_with(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in schemes or not rest:
            raise ValueError(f"must start with one of {', '.join(s + '://' for s in schemes)}")
        return value.rstrip("/")

    return AfterValidator(check)


def _server_with(*schemes: str) -> AfterValidator:
    """A URL with a host, and a port that is one, if it has any."""
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
    # As it stands in a URL; where nothing but an address may stand, it has none.
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def or_port(field: str) -> AliasChoices:
    """The names of a field's variable: its own, or else PORT, which platforms set to where they look."""
    return AliasChoices(field, "port")


Host = Annotated[str, AfterValidator(_without_brackets)]
"""An address to listen on, of either family; `::` is every address of both."""

CommaSeparated = BeforeValidator(_split)
"""A list written as one variable, its parts separated by commas."""


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
        """Take white space off the ends: a Kubernetes secret made of a file ends in a line break.

        A value of nothing else counts as not set, as an empty one does.
        """
        trimmed = {name: _trimmed(value) for name, value in values.items()}
        return {name: value for name, value in trimmed.items() if value != "" or values[name] == ""}


class LogSettings(Settings):
    """How a process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json for machines, console for people; auto: console on a terminal"
    )


class ProbeSettings(Settings):
    """Where a process without an HTTP server of its own serves /livez and /metrics."""

    probe_host: Host = "127.0.0.1"
    probe_port: int = Field(
        0, ge=0, le=65535, validation_alias=or_port("probe_port"), description="0: do not serve"
    )


class TracingSettings(Settings):
    """Where spans are sent; nowhere by default. Other OTEL_ variables are read by OpenTelemetry's SDK."""

    # As OpenTelemetry has it: the first is a base URL, the second the whole. Either may hold a password.
    otel_exporter_otlp_endpoint: Annotated[str, _url_with("http", "https")] | None = Field(None, repr=False)
    otel_exporter_otlp_traces_endpoint: Annotated[str, _url_with("http", "https")] | None = Field(
        None, repr=False
    )
    trace_content: bool = Field(False, description="what is said may be in spans")

    @property
    def traces_endpoint(self) -> str | None:
        """The URL to send spans to, by OTLP over HTTP; None: there is no tracing."""
        base = self.otel_exporter_otlp_endpoint
        return self.otel_exporter_otlp_traces_endpoint or (f"{base}/v1/traces" if base else None)


class ProcessSettings(LogSettings, ProbeSettings, TracingSettings):
    """What every process of a session's way reads that has no HTTP server of its own."""


class LiveKitSettings(Settings):
    """The LiveKit server. The same variables as LiveKit's own tools read."""

    livekit_url: Annotated[str, _server_with("ws", "wss", "http", "https")]
    livekit_api_key: str = Field(min_length=1)
    livekit_api_secret: SecretStr = Field(min_length=1)
    livekit_calls_per_s: float = Field(
        200.0, gt=0, description="calls of one process to LiveKit's API in a second; the others wait"
    )
    livekit_published_on: str | None = Field(
        None, description="the address under which others reach LiveKit, where it is not LIVEKIT_URL's"
    )

    @property
    def reached_at(self) -> list[str]:
        """The addresses at which others may make use of the key pair."""
        return [self.livekit_published_on or urlsplit(self.livekit_url).hostname or ""]


class AgentNameSettings(Settings):
    """The agent name: one class for who dispatches and who registers, so that they can't differ."""

    livekit_agent_name: AgentName = "agent"


class RedisSettings(Settings):
    """Redis or Valkey, 7.0 or later."""

    # Its repr could show a password, as those of the other URLs that may carry one.
    redis_url: Annotated[str, AfterValidator(_of_redis)] = Field("redis://127.0.0.1:6379/0", repr=False)


class BrokerSettings(RedisSettings):
    """Celery's broker; Redis unless another is named."""

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
    """SQLite for one machine, PostgreSQL for real."""

    database_url: Annotated[str, AfterValidator(_of_database)] = Field(
        "sqlite+aiosqlite:///.rollcall/rollcall.db", repr=False
    )


class StoredTextSettings(Settings):
    """What of a text is stored, and whether it is shown before."""

    transcript_store: Literal["full", "metadata"] = Field(
        "full", description="metadata: who spoke, when and for how long, and nothing of what was said"
    )
    transcript_redactor: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:function from text to text, called before a turn is stored",
    )
    live_captions: bool = Field(
        True, description="words are shown while they are being said, to who follows the session"
    )

    @property
    def captions_allowed(self) -> bool:
        """Whether captions may be shown: they are not redacted, and are text where none is to be kept."""
        return self.live_captions and self.transcript_store == "full" and self.transcript_redactor is None


class SessionLimitSettings(Settings):
    """How many sessions may live at once; 0: no limit. A reservation counts once its caller comes."""

    max_sessions_key: int = Field(500, ge=0)
    max_sessions_project: int = Field(1000, ge=0)


class RetentionSettings(Settings):
    """How long what was said, and what happened, is kept. docs/growth.md has everything that grows."""

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
    """How hard and how long an agent is sought."""

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
    """Webhooks out: where they may go, and how their secrets are kept."""

    webhook_allow_private: bool = Field(
        False, description="also to private, loopback and all other addresses that are not public"
    )
    webhook_allow_http: bool = Field(False, description="also without TLS")
    webhook_allowed_networks: Annotated[list[IPvAnyNetwork], NoDecode, CommaSeparated] = Field(
        [], description="also to addresses in these networks"
    )
    webhook_secrets_key: Annotated[SecretStr, AfterValidator(_of_fernet_keys)] | None = Field(
        None, description="seals the secrets in the database: base64; several: the first seals, all open"
    )
