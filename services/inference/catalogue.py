"""The model descriptors of LiveKit Inference, as livekit-agents 1.8 names them.

All are served by the same engines. The list is here so that a misspelt descriptor fails on this
machine as it would in production. A test compares it with the client's own list.
"""

from enum import StrEnum
from typing import Final

from services.inference.request_refused import RequestRefused, malformed


class Kind(StrEnum):
    """What a model does."""

    LLM = "llm"
    STT = "stt"
    TTS = "tts"
    REALTIME = "realtime"


def _descriptors(provider: str, models: str) -> frozenset[str]:
    return frozenset(f"{provider}/{model}" for model in models.split())


_LLM: Final = (
    _descriptors(
        "openai",
        "gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-4.1-nano gpt-5 gpt-5-mini gpt-5-nano gpt-5.1"
        " gpt-5.1-chat-latest gpt-5.2 gpt-5.2-chat-latest gpt-5.3-chat-latest gpt-5.4 gpt-5.4-mini"
        " gpt-5.4-nano gpt-5.5 gpt-5.6-luna gpt-5.6-sol gpt-5.6-terra gpt-6-luna gpt-6-sol"
        " gpt-6.1-sol chat-latest gpt-oss-120b",
    )
    | _descriptors(
        "google",
        "gemini-4-argon gemini-3.1-pro gemini-3-flash gemini-3.1-flash-lite gemini-3.5-flash"
        " gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite",
    )
    | _descriptors("moonshotai", "kimi-k2.5 kimi-k2.6")
    | _descriptors("deepseek-ai", "deepseek-v3 deepseek-v3.2")
    | _descriptors("zai", "glm-5.1")
    | _descriptors(
        "xai",
        "grok-4-1-fast-non-reasoning grok-4-1-fast-reasoning grok-4.20-0309-non-reasoning"
        " grok-4.20-0309-reasoning grok-4.20-multi-agent-0309 grok-4.3 grok-4.5",
    )
)

_STT: Final = (
    _descriptors(
        "deepgram",
        "nova-3 nova-3-medical nova-2 nova-2-medical nova-2-conversationalai nova-2-phonecall"
        " flux-general flux-general-en flux-general-multi",
    )
    | _descriptors("cartesia", "ink-whisper ink-2")
    | _descriptors(
        "assemblyai",
        "universal-streaming universal-streaming-multilingual u3-rt-pro universal-3-5-pro universal-3-6-pro",
    )
    | _descriptors("xai", "stt-1")
    | _descriptors("speechmatics", "enhanced standard linden-1")
    | _descriptors("inworld", "inworld-stt-1")
    | _descriptors("google", "gemini-3.5-transcribe-live")
    | _descriptors("openai", "gpt-live-transcribe")
    | {"auto"}  # the gateway picks a provider
)

_TTS: Final = (
    _descriptors(
        "cartesia",
        "sonic-3.5 sonic-3 sonic-2 sonic-turbo sonic sonic-3-latest sonic-latest",
    )
    | _descriptors("deepgram", "aura aura-2")
    | _descriptors("rime", "coda mistv2 mistv3 mist")
    | _descriptors(
        "inworld",
        "inworld-tts-2 inworld-tts-1.5-max inworld-tts-1.5-mini inworld-tts-1.5 inworld-tts-1-max"
        " inworld-tts-1",
    )
    | _descriptors("xai", "tts-1")
    | _descriptors("fishaudio", "s2.1-pro s2.1-pro-free s2-pro drama-3")
    # The client no longer lists these; many agents still name them.
    | _descriptors("elevenlabs", "eleven_flash_v2 eleven_flash_v2_5 eleven_turbo_v2 eleven_turbo_v2_5")
    | _descriptors("elevenlabs", "eleven_multilingual_v2 eleven_v3")
)


_REALTIME: Final = (
    _descriptors(
        "openai",
        "gpt-realtime gpt-realtime-mini gpt-realtime-2.1 gpt-realtime-2.1-mini"
        " gpt-realtime-2 gpt-realtime-1.5",
    )
    | _descriptors("google", "gemini-3.8-live gemini-3.8-live-extended-thinking gemini-live")
    | _descriptors("xai", "grok-voice grok-voice-latest grok-voice-3.0 grok-voice-think-fast-2.0")
)


def _with_bare_providers(descriptors: frozenset[str]) -> frozenset[str]:
    # "cartesia" alone means the provider's default model, for speech in both directions.
    return descriptors | {descriptor.partition("/")[0] for descriptor in descriptors}


KNOWN: Final[dict[Kind, frozenset[str]]] = {
    Kind.LLM: _LLM,
    Kind.STT: _with_bare_providers(_STT),
    Kind.TTS: _with_bare_providers(_TTS),
    Kind.REALTIME: _REALTIME,
}


def require(kind: Kind, descriptor: object) -> str:
    """Return the descriptor without its `:language` or `:voice`.

    Raises `RequestRefused` 400 if none is given, 404 if no model of that kind has this name.
    """
    if not isinstance(descriptor, str) or not descriptor:
        raise malformed(f"no {kind} model is named", param="model")
    model = descriptor.partition(":")[0] if kind in (Kind.STT, Kind.TTS) else descriptor
    if model not in KNOWN[kind]:
        raise RequestRefused(
            404,
            "model_not_found",
            f"The {kind} model '{descriptor}' does not exist or you do not have access to it.",
            param="model",
        )
    return model
