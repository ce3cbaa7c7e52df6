"""The settings of the agent worker."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from shared.contracts.models import DESCRIPTOR_PATTERN, Models
from shared.contracts.settings import WorkerSettings

Descriptor = Annotated[str, Field(pattern=DESCRIPTOR_PATTERN)]


def _none_if_said_so(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "none" else value


# An empty variable counts as unset, and means the default; so "none" needs a word of its own.
OptionalDescriptor = Annotated[Descriptor | None, BeforeValidator(_none_if_said_so)]

_INSTRUCTIONS = (
    "You are a friendly voice assistant on a call. Answer in one or two short spoken sentences, "
    "without lists, markup or emoji. If you don't know something, say so."
)


class AgentSettings(WorkerSettings):
    """The worker's limits, and the defaults for sessions that set nothing else."""

    livekit_inference_url: str | None = Field(
        None, pattern=r"^(http|ws)s?://.+", description="default: LiveKit's own gateway"
    )
    livekit_inference_api_key: str | None = Field(None, description="default: LIVEKIT_API_KEY")
    livekit_inference_api_secret: SecretStr | None = Field(None, description="default: LIVEKIT_API_SECRET")

    agent_idle_processes: int = Field(2, ge=0, le=64, description="kept warm; each job takes one")
    agent_http_port: int = Field(
        0, ge=0, le=65535, description="of LiveKit's own health page; 0: any, on loopback"
    )
    agent_drain_timeout_s: int = Field(3600, ge=1, description="how long running calls may continue")
    agent_max_retry: int = Field(16, ge=0, description="attempts to connect to LiveKit before giving up")

    agent_profiles: Path | None = Field(
        None, description="agents.yaml: what the agent of this name is (docs/profiles.md)"
    )
    agent_stt: OptionalDescriptor = "deepgram/nova-3"
    agent_llm: OptionalDescriptor = "openai/gpt-5-mini"
    agent_tts: OptionalDescriptor = "cartesia/sonic-3:9626c31c-bec5-4cca-baa8-f8ba9e84c8bc"
    agent_realtime_model: OptionalDescriptor = "openai/gpt-realtime"
    agent_language: str = Field("en", pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    # The local end-of-turn model handles a caller's pauses better, for about 244 MB a worker and some CPU at
    # each pause. Silence alone is the default, because it costs nothing and is predictable.
    agent_turn_detection: Literal["vad", "v1-mini"] = "vad"

    agent_instructions: str = _INSTRUCTIONS
    agent_greeting: str = "Hello! How can I help you today?"

    @property
    def default_models(self) -> Models:
        """The models that an agent uses unless its order names others."""
        return Models(
            stt=self.agent_stt,
            llm=self.agent_llm,
            tts=self.agent_tts,
            realtime=self.agent_realtime_model,
            language=self.agent_language,
        )
