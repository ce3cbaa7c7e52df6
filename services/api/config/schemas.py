"""The JSON of the settings. Each field is named here, so no other setting is ever shown."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from services.api.settings import ApiSettings
from shared.platform.process import rollcall_version


class AgentsConfig(BaseModel):
    """Which agents clients may ask for."""

    default_name: str
    allowed_names: list[str] = Field(description="empty: any")
    allowed_deployments: list[str] = Field(description="pools; empty: only the one without a name")


class ModelsConfig(BaseModel):
    """Which models and voices clients may ask for, as shell patterns."""

    allowed_models: list[str]
    allowed_voices: list[str]


class GuaranteeConfig(BaseModel):
    """How often and how long Rollcall tries to get an agent."""

    max_attempts: int
    join_budget_s: float


class LimitsConfig(BaseModel):
    """Limits of this deployment; 0: none."""

    requests_per_minute_key: int
    requests_per_minute_project: int
    requests_per_minute_visitor: int
    max_sessions_key: int
    max_sessions_project: int
    max_reservations_visitor: int
    max_followers: int
    max_followers_project: int
    max_body_bytes: int
    max_metadata_bytes_visitor: int


class RetentionConfig(BaseModel):
    """After how many days something is deleted; 0: never."""

    transcripts_days: int
    sessions_days: int
    audit_days: float
    reservations_days: float
    dead_letters_days: float


class FeaturesConfig(BaseModel):
    """What is on and off. `text_stored` is false where only metadata of turns is stored."""

    text_stored: bool
    text_redacted: bool
    live_captions: bool
    canary_interval_s: float = Field(description="0: Rollcall starts no canaries by itself")
    tracing: bool
    trace_content: bool = Field(description="spans may contain what is said")
    webhooks_to_private_addresses: bool
    webhook_secrets_sealed: bool
    operations_open: bool = Field(description="/health and /metrics need no key")


class LinksConfig(BaseModel):
    """Where to look further; null: not set."""

    livekit_url: str = Field(description="where clients join")
    grafana_url: str | None
    trace_url: str | None = Field(description="of a trace: `{trace_id}` stands for its id")


class Config(BaseModel):
    """The settings of the API that answers. Other processes have settings of their own."""

    version: str
    auth: Literal["off", "keys"]
    agents: AgentsConfig
    models: ModelsConfig
    guarantee: GuaranteeConfig
    limits: LimitsConfig
    retention: RetentionConfig
    features: FeaturesConfig
    links: LinksConfig

    @classmethod
    def of(cls, settings: ApiSettings, *, auth: Literal["off", "keys"]) -> Self:
        """Return what may be told of the settings."""
        return cls(
            version=rollcall_version(),
            auth=auth,
            agents=AgentsConfig(
                default_name=settings.livekit_agent_name,
                allowed_names=settings.allowed_agent_names,
                allowed_deployments=settings.allowed_deployments,
            ),
            models=ModelsConfig(
                allowed_models=settings.allowed_models, allowed_voices=settings.allowed_voices
            ),
            guarantee=GuaranteeConfig(
                max_attempts=settings.dispatch_max_attempts, join_budget_s=settings.join_budget_s
            ),
            limits=LimitsConfig(
                requests_per_minute_key=settings.requests_per_minute_key,
                requests_per_minute_project=settings.requests_per_minute_project,
                requests_per_minute_visitor=settings.requests_per_minute_visitor,
                max_sessions_key=settings.max_sessions_key,
                max_sessions_project=settings.max_sessions_project,
                max_reservations_visitor=settings.max_reservations_visitor,
                max_followers=settings.max_followers,
                max_followers_project=settings.max_followers_project,
                max_body_bytes=settings.api_max_body_bytes,
                max_metadata_bytes_visitor=settings.max_metadata_bytes_visitor,
            ),
            retention=RetentionConfig(
                transcripts_days=settings.transcript_retention_days,
                sessions_days=settings.session_retention_days,
                audit_days=settings.audit_retention_days,
                reservations_days=settings.reservation_retention_days,
                dead_letters_days=settings.dead_letter_retention_days,
            ),
            features=FeaturesConfig(
                text_stored=settings.transcript_store == "full",
                text_redacted=settings.transcript_redactor is not None,
                live_captions=settings.captions_allowed,
                canary_interval_s=settings.canary_interval_s,
                tracing=settings.traces_endpoint is not None,
                trace_content=settings.trace_content,
                webhooks_to_private_addresses=settings.webhook_allow_private,
                webhook_secrets_sealed=settings.webhook_secrets_key is not None,
                operations_open=settings.api_operations == "open",
            ),
            links=LinksConfig(
                livekit_url=settings.client_livekit_url,
                grafana_url=settings.grafana_url,
                trace_url=settings.trace_url,
            ),
        )
