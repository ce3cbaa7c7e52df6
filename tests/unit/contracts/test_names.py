"""What may be a name: every script and emoji, LiveKit's limits in bytes, and a true reason for a refusal."""

import pytest
from pydantic import TypeAdapter, ValidationError

from services.api.settings import ApiSettings
from shared.contracts.names import AgentName, Deployment, Name, Sought, check_name
from tests.integration.api_client import api_settings

NAME, AGENT, DEPLOYMENT, SOUGHT = map(TypeAdapter, (Name, AgentName, Deployment, Sought))


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "山田\u3000太郎",  # an ideographic space
        "👨\u200d👩\u200d👧\u200d👦",  # a family: joined by zero-width joiners
        "می\u200cخواهم",  # a zero-width non-joiner
        "क्\u200dष",
        "\u200fمحمد\u200e",  # marks of direction, which turn nothing but themselves
        "Zoe\u0308",
        "O\u2019Brien\u00a0III",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "a\u2009b|c/d.e-f_g",
        "\ufeffx",
        "x" * 256,
        "é" * 128,
        "漢" * 85 + "x",
        "😀" * 64,
    ],
)
def test_everyday_names_of_every_script_are_names(name: str) -> None:
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\x00b", "a control character (U+0000 at character 2)"),
        ("a\x1b[31m", "a control character (U+001B"),
        ("a\nb", "a control character (U+000A"),
        ("a\x7fb", "a control character (U+007F"),
        ("a\x85b", "a control character (U+0085"),
        ("a\x9bb", "a control character (U+009B"),
        ("a\u202eb", "a direction override (U+202E"),
        ("a\u2067b", "a direction override (U+2067"),
        (" a", "white space"),
        ("a\u3000", "white space"),
        ("\u3000", "white space"),
        ("x" * 257, "256"),
        ("漢" * 86, "must be at most 256 bytes in UTF-8; it has 258"),
        ("é" * 129, "it has 258"),
        ("😀" * 65, "it has 260"),
    ],
)
def test_what_is_no_name_is_refused_by_its_true_reason(name: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NAME.validate_python(name)
    [fault] = refused.value.errors()
    assert reason in fault["msg"]


def test_a_lone_surrogate_is_no_character_of_a_name() -> None:
    with pytest.raises(ValueError, match=r"a lone surrogate \(U\+D83D at character 2\)"):
        check_name("a\ud83db")
    with pytest.raises(ValidationError):
        NAME.validate_python("a\ud83db")


@pytest.mark.parametrize(("name", "size"), [("漢" * 43, 129), ("é" * 65, 130)])
def test_an_agents_name_is_measured_in_bytes_too(name: str, size: int) -> None:
    assert AGENT.validate_python("漢" * 42) == "漢" * 42
    with pytest.raises(ValidationError, match=f"at most 128 bytes in UTF-8; it has {size}"):
        AGENT.validate_python(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("é" * 33, "at most 64 bytes in UTF-8; it has 66"),
        ("a_b", "underscore"),
        ("a b", "white space"),
        ("a\u3000b", "white space"),
        ("a\nb", "control character"),
    ],
)
def test_a_deployment_is_what_livekit_takes_for_one(name: str, reason: str) -> None:
    for good in ("", "blue", "é" * 32, "v1.2-rc"):
        assert DEPLOYMENT.validate_python(good) == good
    with pytest.raises(ValidationError, match=reason):
        DEPLOYMENT.validate_python(name)


def test_what_is_looked_for_need_not_be_a_name_that_may_be_chosen_here() -> None:
    for name in (" padded ", "a\u202eb", "a\tb", "漢" * 85):
        assert SOUGHT.validate_python(name) == name
    for name in ("a\x00", "\ud83d", "漢" * 86):
        with pytest.raises(ValidationError):
            SOUGHT.validate_python(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"livekit_agent_name": "漢" * 43},
        {"livekit_agent_name": "a\x07gent"},
        {"allowed_agent_names": "good,b\u202ead"},
        {"allowed_deployments": "blue,gr_een"},
    ],
)
def test_the_names_of_settings_obey_the_same_rules(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        api_settings("sqlite+aiosqlite:///x.db", "redis://localhost", **wrong)
    named = api_settings("sqlite+aiosqlite:///x.db", "redis://localhost", livekit_agent_name="受付\u3000係")
    assert isinstance(named, ApiSettings)
