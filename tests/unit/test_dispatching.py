"""What a dispatch carries to the agent: the order, the mode and the models."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import METADATA_KEY
from shared.contracts.models import Models
from shared.contracts.sessions import Mode


def an_order(**changes: object) -> DispatchOrder:
    return DispatchOrder.model_validate({"session_id": new_id(), "attempt": 2, **changes})


def test_an_order_comes_back_from_the_metadata_as_it_went_in() -> None:
    order = an_order(
        mode="realtime",
        models={"llm": "openai/gpt-5-mini", "voice": "anna"},
        instructions="Grüße den Anrufer.",
        first_seq=7,
        takes_over=True,
    )
    assert DispatchOrder.from_metadata(order.to_metadata({})) == order


def test_the_callers_own_metadata_travels_beside_the_order() -> None:
    metadata = json.loads(an_order().to_metadata({"customer": "c-1", "nested": {"a": [1]}}))
    assert metadata.pop(METADATA_KEY)["attempt"] == 2
    assert metadata == {"customer": "c-1", "nested": {"a": [1]}}


def test_the_callers_metadata_cannot_forge_an_order() -> None:
    order = an_order()
    forged = {METADATA_KEY: an_order(attempt=99).model_dump(mode="json")}
    assert DispatchOrder.from_metadata(order.to_metadata(forged)) == order


@pytest.mark.parametrize("metadata", ["", "not json", "[]", '"rollcall"', "null", "{}", '{"other": 1}'])
def test_a_job_that_rollcall_did_not_dispatch_carries_no_order(metadata: str) -> None:
    assert DispatchOrder.from_metadata(metadata) is None


@pytest.mark.parametrize(
    "reserved",
    [None, 1, "order", [], {}, {"session_id": "s"}, {"session_id": "s", "attempt": "second"}],
)
def test_a_malformed_order_is_an_error_and_not_a_foreign_job(reserved: object) -> None:
    with pytest.raises(ValidationError):
        DispatchOrder.from_metadata(json.dumps({METADATA_KEY: reserved}))


def test_keys_that_a_later_version_adds_are_tolerated() -> None:
    order = an_order()
    reserved = {**order.model_dump(mode="json"), "colour": "blue"}
    assert DispatchOrder.from_metadata(json.dumps({METADATA_KEY: reserved})) == order


def test_the_attributes_name_the_session_and_the_attempt_as_text() -> None:
    order = an_order(session_id=SessionId("s-1"), attempt=3)
    assert order.attributes() == {"rollcall.session": "s-1", "rollcall.attempt": "3"}


def test_hybrid_is_the_older_name_of_the_pipeline() -> None:
    assert Mode("hybrid") is Mode.PIPELINE
    assert TypeAdapter(Mode).validate_python("hybrid") is Mode.PIPELINE
    assert an_order(mode="hybrid").mode is Mode.PIPELINE
    assert Mode("realtime") is Mode.REALTIME


@pytest.mark.parametrize("value", ["Hybrid", "", "audio", None, 1])
def test_no_other_mode_is_guessed(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Mode"):
        Mode(value)


@pytest.mark.parametrize(
    "descriptor",
    [
        "openai/gpt-5-mini",
        "deepgram/nova-3",
        "deepgram/nova-3:en",
        "cartesia/sonic-3:9626c31c-bec5-4cca-baa8-f8ba9e84c8bc",
        "elevenlabs/eleven_turbo_v2_5:Xb7hH8MSUJpSbSDYk0k2",
        "x-ai/grok-4.1",
    ],
)
@pytest.mark.parametrize("field", ["stt", "llm", "tts", "realtime"])
def test_livekit_inference_descriptors_are_models(field: str, descriptor: str) -> None:
    assert getattr(Models.model_validate({field: descriptor}), field) == descriptor


@pytest.mark.parametrize(
    "descriptor",
    [
        "",
        "gpt-5-mini",
        "openai/",
        "/gpt-5-mini",
        "openai/gpt 5",
        "openai/gpt-5/mini",
        "OpenAI/gpt-5-mini",
        "cartesia/sonic-3:",
        "cartesia/sonic-3:a:b",
        " openai/gpt-5-mini",
        "openai/gpt-5-mini\n",
    ],
)
@pytest.mark.parametrize("field", ["stt", "llm", "tts", "realtime"])
def test_what_is_no_descriptor_is_refused(field: str, descriptor: str) -> None:
    with pytest.raises(ValidationError):
        Models.model_validate({field: descriptor})


@pytest.mark.parametrize("language", ["en", "de-DE", "zh-Hant", "yue", "es-419"])
def test_languages_are_bcp_47_tags(language: str) -> None:
    assert Models(language=language).language == language


@pytest.mark.parametrize("language", ["", "e", "english", "en_US", "en-", "de DE"])
def test_what_is_no_language_tag_is_refused(language: str) -> None:
    with pytest.raises(ValidationError):
        Models(language=language)


def test_a_misspelt_model_is_refused_rather_than_ignored() -> None:
    with pytest.raises(ValidationError):
        Models.model_validate({"lllm": "openai/gpt-5-mini"})
