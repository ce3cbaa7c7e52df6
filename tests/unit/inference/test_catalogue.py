"""The catalogue knows what the real client knows, and refuses the rest by name."""

from typing import Any, get_args

import pytest
from livekit.agents.inference import _realtime_models, llm, stt, tts

from services.inference.catalogue import KNOWN, Kind, require
from services.inference.request_refused import RequestRefused


def _named_in(literals: Any) -> set[str]:
    arguments = get_args(literals)
    return set().union(*(_named_in(a) if get_args(a) else {a} for a in arguments))


@pytest.mark.parametrize(
    ("kind", "literals"),
    [
        (Kind.LLM, llm.LLMModels),
        (Kind.STT, stt.STTModels),
        (Kind.TTS, tts.TTSModels),
        (Kind.REALTIME, _realtime_models.RealtimeModels),
    ],
)
def test_every_descriptor_of_the_client_is_known(kind: Kind, literals: Any) -> None:
    assert _named_in(literals) <= KNOWN[kind]


@pytest.mark.parametrize(
    ("kind", "descriptor", "model"),
    [
        (Kind.STT, "deepgram/nova-3:en", "deepgram/nova-3"),
        (Kind.TTS, "cartesia/sonic-3:9626c31c-bec5", "cartesia/sonic-3"),
        (Kind.TTS, "elevenlabs/eleven_turbo_v2_5:x", "elevenlabs/eleven_turbo_v2_5"),
        (Kind.LLM, "openai/gpt-5-mini", "openai/gpt-5-mini"),
        (Kind.STT, "auto", "auto"),
    ],
)
def test_language_and_voice_are_not_part_of_the_name(kind: Kind, descriptor: str, model: str) -> None:
    assert require(kind, descriptor) == model


@pytest.mark.parametrize("kind", list(Kind))
def test_an_unknown_model_is_refused_by_name(kind: Kind) -> None:
    with pytest.raises(RequestRefused) as refused:
        require(kind, "deepgram/nova-33")
    assert refused.value.status == 404
    assert "'deepgram/nova-33'" in refused.value.message
    assert refused.value.body()["error"]["code"] == "model_not_found"


def test_a_model_of_another_kind_is_unknown() -> None:
    with pytest.raises(RequestRefused, match="stt model 'cartesia/sonic-3'"):
        require(Kind.STT, "cartesia/sonic-3")


@pytest.mark.parametrize("descriptor", [None, "", 3])
def test_no_model_is_a_bad_request(descriptor: object) -> None:
    with pytest.raises(RequestRefused) as refused:
        require(Kind.LLM, descriptor)
    assert refused.value.status == 400
