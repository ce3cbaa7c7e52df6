"""Build a session's models from LiveKit Inference descriptors."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from livekit.agents import NOT_GIVEN, AgentSession, inference
from livekit.agents.voice.turn import TurnHandlingOptions

from rollcall_agent.job.diagnose import ModelRefused
from services.agent.settings import AgentSettings
from shared.contracts.models import Models
from shared.contracts.sessions import Mode

M = TypeVar("M")


def choose(asked: Models, defaults: Models) -> Models:
    """Return the models of one session: those in its order, and the worker's defaults for the rest."""
    return defaults.model_copy(update=asked.model_dump(exclude_none=True))


_NEEDED: Final[Mapping[Mode, Mapping[str, str]]] = {
    Mode.PIPELINE: {"stt": "AGENT_STT", "llm": "AGENT_LLM", "tts": "AGENT_TTS"},
    Mode.REALTIME: {"realtime": "AGENT_REALTIME_MODEL"},
}


def check_complete(models: Models, mode: Mode) -> None:
    """Raise `ModelRefused`, with the kind as its descriptor, if the mode needs a model that is not set."""
    for kind, variable in _NEEDED[mode].items():
        if getattr(models, kind) is None:
            raise ModelRefused(
                kind, f"no {kind} model; set {variable} in the worker, or models.{kind} in the session"
            )


def build_session(
    models: Models, *, mode: Mode, settings: AgentSettings, silence_s: float | None = None
) -> AgentSession[None]:
    """Return an agent session that is not started. It calls no model yet, except for the LLM's prewarm.

    silence_s: after so long without a word of either side, the user is `away`; None: the SDK's default.

    Raises `ModelRefused` if a model is missing, or if the SDK can't build one from its descriptor.
    """
    check_complete(models, mode)
    if mode is Mode.REALTIME:
        return _realtime_session(models, settings, **_away(silence_s))
    return _pipeline_session(models, settings, **_away(silence_s))


def _away(silence_s: float | None) -> dict[str, Any]:
    return {} if silence_s is None else {"user_away_timeout": silence_s}


def _pipeline_session(models: Models, settings: AgentSettings, **more: Any) -> AgentSession[None]:
    reach = _how_to_reach(settings)
    stt, llm, tts = models.stt or "", models.llm or "", models.tts or ""
    language = models.language or NOT_GIVEN
    # Both are set here, because the SDK's defaults may choose detectors that run in LiveKit's cloud.
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
        **more,
    )


def _realtime_session(models: Models, settings: AgentSettings, **more: Any) -> AgentSession[None]:
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
        **more,
    )


def inference_credentials(settings: AgentSettings) -> tuple[str, str]:
    """Return the key and secret that sign tokens for the inference endpoint."""
    secret = settings.livekit_inference_api_secret or settings.livekit_api_secret
    return settings.livekit_inference_api_key or settings.livekit_api_key, secret.get_secret_value()


def _how_to_reach(settings: AgentSettings) -> dict[str, Any]:
    api_key, api_secret = inference_credentials(settings)
    reach = {"api_key": api_key, "api_secret": api_secret}
    if settings.livekit_inference_url:
        reach["base_url"] = settings.livekit_inference_url
    return reach


def _made(descriptor: str, make: Callable[[], M]) -> M:
    try:
        return make()
    except ValueError as refused:
        raise ModelRefused(descriptor, str(refused)) from refused
