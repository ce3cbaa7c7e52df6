"""Build a session's models from LiveKit Inference descriptors."""

from collections.abc import Callable
from typing import Any, TypeVar

from livekit.agents import NOT_GIVEN, AgentSession, inference
from livekit.agents.voice.turn import TurnHandlingOptions

from services.agent.diagnose import ModelRefused
from services.agent.settings import AgentSettings
from shared.contracts.models import Models
from shared.contracts.sessions import Mode

M = TypeVar("M")


def choose(asked: Models, defaults: Models) -> Models:
    """The models of one session: what its order asks for, and the worker's defaults for the rest."""
    return defaults.model_copy(update=asked.model_dump(exclude_none=True))


def build_session(models: Models, *, mode: Mode, settings: AgentSettings) -> AgentSession[None]:
    """Return an agent session that is not started; nothing is called yet, but for the LLM's prewarm.

    Raises `ModelRefused` if the SDK can't make a model of a descriptor.
    """
    if mode is Mode.REALTIME:
        return _realtime_session(models, settings)
    return _pipeline_session(models, settings)


def _pipeline_session(models: Models, settings: AgentSettings) -> AgentSession[None]:
    reach = _how_to_reach(settings)
    stt, llm, tts = models.stt or "", models.llm or "", models.tts or ""
    language = models.language or NOT_GIVEN
    # Both named here: the SDK's defaults may pick detectors that run in LiveKit's cloud.
    turn_handling: TurnHandlingOptions = {
        "turn_detection": (
            inference.TurnDetector(version="v1-mini") if settings.agent_turn_detection == "v1-mini" else "vad"
        ),
        "interruption": {"mode": "vad"},
    }
    return AgentSession(
        vad=inference.VAD(model="silero"),
        stt=_made(stt, lambda: inference.STT(stt, language=language, **reach)),
        llm=_made(llm, lambda: inference.LLM(llm, **reach)),
        tts=_made(
            tts, lambda: inference.TTS(tts, voice=models.voice or NOT_GIVEN, language=language, **reach)
        ),
        turn_handling=turn_handling,
    )


def _realtime_session(models: Models, settings: AgentSettings) -> AgentSession[None]:
    realtime = models.realtime or ""
    return AgentSession(
        vad=inference.VAD(model="silero"),
        llm=_made(
            realtime,
            lambda: inference.RealtimeModel(
                realtime, voice=models.voice or NOT_GIVEN, **_how_to_reach(settings)
            ),
        ),
        turn_handling={"turn_detection": "realtime_llm", "interruption": {"mode": "vad"}},
    )


def _how_to_reach(settings: AgentSettings) -> dict[str, Any]:
    secret = settings.livekit_inference_api_secret or settings.livekit_api_secret
    reach = {
        "api_key": settings.livekit_inference_api_key or settings.livekit_api_key,
        "api_secret": secret.get_secret_value(),
    }
    if settings.livekit_inference_url:
        reach["base_url"] = settings.livekit_inference_url
    return reach


def _made(descriptor: str, make: Callable[[], M]) -> M:
    try:
        return make()
    except ValueError as refused:
        raise ModelRefused(descriptor, str(refused)) from refused
