"""The settings of the API."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from shared.contracts.names import AgentName, Deployment
from shared.contracts.settings import (
    AgentNameSettings,
    BrokerSettings,
    CommaSeparated,
    DatabaseSettings,
    GuaranteeSettings,
    Host,
    LiveKitSettings,
    LogSettings,
    RetentionSettings,
    SessionLimitSettings,
    StoredTextSettings,
    TracingSettings,
    WebhookSettings,
    or_port,
)


def _as_browsers_send_it(origin: str) -> str:
    """Return an origin in lower case, without a trailing slash.

    Raises `ValueError` for anything but one origin.
    """
    plain = origin.rstrip("/").lower()
    parts = urlsplit(plain)
    if plain not in ("*", "null") and (not parts.netloc or plain != f"{parts.scheme}://{parts.netloc}"):
        raise ValueError(
            f"{origin!r} is not an origin: give scheme, host and port, such as https://app.example.com"
        )
    return plain


def _link(url: str) -> str:
    """Return an address that pages may show; raises `ValueError` for one with a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an address: give one such as https://grafana.example.com")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password, and everybody who may read the settings would see it")
    return url


Origin = Annotated[str, AfterValidator(_as_browsers_send_it)]


class ApiSettings(
    LiveKitSettings,
    AgentNameSettings,
    BrokerSettings,
    DatabaseSettings,
    GuaranteeSettings,
    SessionLimitSettings,
    RetentionSettings,
    StoredTextSettings,
    LogSettings,
    WebhookSettings,
    TracingSettings,
):
    """Settings of the API."""

    api_host: Host = "127.0.0.1"
    api_port: int = Field(8080, ge=0, le=65535, validation_alias=or_port("api_port"))
    api_auth: Literal["off", "keys"] | None = Field(
        None,
        description="whether requests need a key; default: off, and no start if others can reach the API",
    )
    api_published_on: str | None = Field(
        None, description="the address at which others reach it, if it differs from API_HOST"
    )
    api_operations: Literal["keys", "open"] = Field(
        "keys", description="open: /health, /health/agent and /metrics need no key"
    )
    api_max_body_bytes: int = Field(524_288, ge=1024)
    api_max_connections: int = Field(
        4096, ge=16, description="of one process at once; fewer if it may not open so many files"
    )
    # Limits of requests a minute, and of waiting reservations; 0: no limit.
    requests_per_minute_key: int = Field(600, ge=0)
    requests_per_minute_project: int = Field(3000, ge=0)
    requests_per_minute_visitor: int = Field(
        30, ge=0, description="of one network address with a publishable key"
    )
    requests_per_minute_bad_key: int = Field(
        300, ge=0, description="of one network address with keys that are refused"
    )
    max_reservations_visitor: int = Field(
        100, ge=0, description="unused ones, of one network address with a publishable key"
    )
    max_metadata_bytes_visitor: int = Field(
        2048, ge=0, le=32_768, description="size of the metadata that a publishable key may give to a session"
    )
    livekit_public_url: str | None = Field(
        None, description="the address of LiveKit for clients; default: LIVEKIT_URL"
    )
    participant_token_ttl_s: int = Field(900, ge=60, le=86_400)
    allowed_agent_names: Annotated[list[AgentName], NoDecode, CommaSeparated] = Field(
        [], description="agent names that clients may ask for; empty: any"
    )
    allowed_deployments: Annotated[list[Deployment], NoDecode, CommaSeparated] = Field(
        [], description="LiveKit deployments that clients may ask for; empty: only the default one"
    )
    allowed_models: Annotated[list[str], NoDecode, CommaSeparated] = Field(
        ["*"], description="model descriptors that clients may ask for, as shell patterns"
    )
    allowed_voices: Annotated[list[str], NoDecode, CommaSeparated] = Field(
        ["*"], description="voices that clients may ask for, as shell patterns"
    )
    cors_allowed_origins: Annotated[list[Origin], NoDecode, CommaSeparated] = Field(
        [], description="origins whose pages may call the API from a browser; *: any; empty: none"
    )
    idempotency_key_ttl_s: int = Field(
        86_400, ge=60, le=2_592_000, description="seconds for which Rollcall remembers an Idempotency-Key"
    )
    canary_interval_s: float = Field(
        0, ge=0, le=86_400, description="seconds between two canaries, of all replicas together; 0: none"
    )
    grafana_url: Annotated[str, AfterValidator(_link)] | None = Field(
        None, description="where people find the dashboards: a link in the console"
    )
    trace_url: Annotated[str, AfterValidator(_link)] | None = Field(
        None, description="where people find a session's trace; {trace_id} stands for its id"
    )
    max_followers: int = Field(
        2000, ge=1, description="event streams that one process serves at once; it refuses more with 503"
    )
    max_followers_project: int = Field(
        1000, ge=0, description="the same for one project; 0: the same number as for all together"
    )
    # Limits for what grows apart from sessions and their turns: docs/growth.md.
    reservation_retention_days: float = Field(
        1, gt=0, le=36_500, description="how long an unused reservation is kept"
    )
    erasure_mark_retention_days: int = Field(
        365, ge=1, le=36_500, description="longer than a worker's disk may hold unsent turns"
    )
    audit_retention_days: float = Field(
        365, ge=0, le=36_500, description="how long the audit trail is kept; 0: for ever"
    )
    events_stream_hours: float = Field(
        24, gt=0, le=8760, description="how long events stay in Redis for programs that read them there"
    )
    dead_letter_retention_days: float = Field(7, gt=0, le=3650)
    dead_letters_max_mb: int = Field(64, ge=1)
    streams_max_mb: int = Field(
        512, ge=1, description="size of each other stream in Redis; beyond it, the oldest entries are removed"
    )

    @property
    def client_livekit_url(self) -> str:
        """Where clients are told to join."""
        return self.livekit_public_url or self.livekit_url

    @property
    def reached_at(self) -> list[str]:
        """Return the addresses of LiveKit and of this API."""
        return [*super().reached_at, self.api_published_on or self.api_host]
