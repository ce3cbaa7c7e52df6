"""What a dispatch carries to the agent: the order, the mode and the models."""

import base64
import json
import zlib
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from shared.contracts.dispatching import (
    MAX_ATTRIBUTES_BYTES,
    MAX_PACKED_PROFILE_BYTES,
    DispatchOrder,
    packed_size,
)
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.keys import METADATA_KEY, ORDER_ATTRIBUTE
from shared.contracts.models import Models
from shared.contracts.profiles import Profile
from shared.contracts.sessions import Mode
from shared.core.workers.credentials import KeyPair


def an_order(**changes: object) -> DispatchOrder:
    return DispatchOrder.model_validate({"session_id": new_id(), "attempt": 2, **changes})


def read(attributes: dict[str, str], metadata: str = "") -> DispatchOrder | None:
    return DispatchOrder.of_job(attributes=attributes, metadata=metadata)


def credential() -> str:
    """An attempt's credential, with a long key."""
    return KeyPair("API" + "k" * 61, SecretStr("s" * 64)).sign_attempt(new_id(), 1)


def test_an_order_comes_back_from_the_attributes_as_it_went_in() -> None:
    order = an_order(
        mode="realtime",
        models={"llm": "openai/gpt-5-mini", "voice": "anna"},
        instructions="Grüße den Anrufer.",
        first_seq=7,
        takes_over=True,
        caller_identity="ann",
        caller_only=True,
    )
    assert read(order.dispatch_attributes()) == order


@pytest.mark.parametrize(
    "metadata", ["", "plain words", "[]", "{", json.dumps({METADATA_KEY: {"attempt": 99, "session_id": "s"}})]
)
def test_whatever_the_client_gave_the_order_is_ours(metadata: str) -> None:
    order = an_order()
    assert read(order.dispatch_attributes(), metadata) == order


def test_an_order_of_an_older_dispatcher_is_read_from_the_metadata() -> None:
    order = an_order(instructions="Be brief.")
    metadata = json.dumps({"theirs": 1, METADATA_KEY: order.model_dump(mode="json")})
    assert read(order.attributes(), metadata) == order


@pytest.mark.parametrize("metadata", ["", "plain words", '{"other": 1}', f'{{"{METADATA_KEY}": null}}'])
def test_session_and_attempt_are_known_where_there_is_no_more(metadata: str) -> None:
    order = an_order()
    assert read(order.attributes(), metadata) == order


def test_a_profile_of_the_most_bytes_fits_beside_the_longest_instructions() -> None:
    random = Random(1)
    letters = "".join(chr(random.randrange(0x20000, 0x2A6DF)) for _ in range(16_384))
    tools: list[dict[str, str]] = []
    while packed_size(fitting := Profile.model_validate({"http_tools": tools})) <= MAX_PACKED_PROFILE_BYTES:
        longest = fitting
        words = "".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(100))
        url = "https://shop.example/tools"
        tools.append({"name": f"tool_{len(tools)}", "description": words, "url": url})
    own = an_order(instructions=letters, profile=longest, caller_identity="x" * 256, credential=credential())
    theirs = an_order(
        profile=longest.model_copy(update={"instructions": letters}),
        profile_version=1,
        credential=credential(),
    )
    for order in (own, theirs):
        attributes = order.dispatch_attributes()
        assert sum(len(name) + len(value) for name, value in attributes.items()) < MAX_ATTRIBUTES_BYTES
        assert read(attributes) == order


def test_metadata_alone_makes_no_order() -> None:
    forged = json.dumps({METADATA_KEY: an_order().model_dump(mode="json")})
    assert read({}, forged) is None
    assert read({"theirs": "1"}, forged) is None


@pytest.mark.parametrize(
    "order", [b"", b"null", b"[]", b"{}", b'{"session_id": "s"}', b'{"session_id": "s", "attempt": "second"}']
)
def test_a_malformed_order_is_an_error_and_not_a_foreign_job(order: bytes) -> None:
    packed = base64.b85encode(zlib.compress(order)).decode()
    for said in (packed, packed[:-3], "", "~", "é"):
        with pytest.raises(ValueError):  # noqa: PT011 - pydantic's is one too
            read({ORDER_ATTRIBUTE: said})


def test_keys_that_a_later_version_adds_are_tolerated() -> None:
    order = an_order()
    later = json.dumps({**order.model_dump(mode="json"), "colour": "blue"}).encode()
    assert read({ORDER_ATTRIBUTE: base64.b85encode(zlib.compress(later)).decode()}) == order


@pytest.mark.parametrize(
    "characters",
    [(0x10000, 0x110000), (0x1, 0xD800), (0x1, 0x20), (0x22, 0x23)],
    ids=["of four bytes", "of any script", "that JSON escapes", "quotes"],
)
def test_the_longest_instructions_fit_into_livekits_limit_of_attributes(characters: tuple[int, int]) -> None:
    pool = [chr(number) for number in range(*characters)]
    models = Models(llm="openai/" + "m" * 100, tts="cartesia/" + "t" * 100, voice="v" * 100)
    order = an_order(
        instructions="".join(Random(1).choices(pool, k=16_384)),
        models=models,
        caller_identity="c" * 256,
        credential=credential(),
    )
    attributes = order.dispatch_attributes()
    assert sum(len(part.encode()) for pair in attributes.items() for part in pair) <= MAX_ATTRIBUTES_BYTES
    assert read(attributes) == order


def test_the_attributes_name_the_session_and_the_attempt_as_text() -> None:
    order = an_order(session_id=SessionId("s-1"), attempt=3)
    assert order.attributes() == {"rollcall.session": "s-1", "rollcall.attempt": "3"}


def test_hybrid_is_the_older_name_of_the_pipeline() -> None:
    assert Mode("hybrid") is Mode.PIPELINE
    assert TypeAdapter(Mode).validate_python("hybrid") is Mode.PIPELINE
    assert an_order(mode="hybrid").mode is Mode.PIPELINE
    assert Mode("realtime") is Mode.REALTIME


@pytest.mark.parametrize("value", ["Hybrid", "", "audio", None, 1])
def test_no_other_mode_is_guessed(value: Any) -> None:
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
