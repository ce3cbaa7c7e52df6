"""Profiles are read from a file, with secrets of the environment and variables of the session."""

from pathlib import Path

import pytest
import yaml

from services.agent.profile import ProfileInvalid, Secrets, fill_in, read_profile
from shared.contracts.profiles import Profile

TOOL = {"name": "look_up", "description": "Look it up.", "url": "https://shop.example/tools"}
SIGNED = {**TOOL, "secret": "${AGENT_SECRET_SHOP}"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "${AGENT_SECRET_TOKEN}"
SERVER = {"url": "https://tools.example/mcp", "headers": {"Authorization": f"Bearer {TOKEN}"}}


def written(folder: Path, text: str) -> Path:
    file = folder / "agents.yaml"
    file.write_text(text)
    return file


def profile(**fields: object) -> str:
    return yaml.safe_dump({"shop": fields})


def test_without_a_file_nothing_is_said() -> None:
    assert read_profile(None, "agent", secrets=Secrets({})) == Profile()


def test_a_profile_is_found_by_the_agents_name_and_needs_no_secrets_of_the_others(tmp_path: Path) -> None:
    profiles = {
        "shop": {"greeting": "Hi", "mcp_servers": [SERVER], "http_tools": [TOOL]},
        "other": {"http_tools": [{**TOOL, "secret": "${AGENT_SECRET_OTHER}"}]},
    }
    secrets = Secrets({"AGENT_SECRET_TOKEN": "t"})
    found = read_profile(written(tmp_path, yaml.safe_dump(profiles)), "shop", secrets=secrets)
    assert found.greeting == "Hi"
    assert found.http_tools[0].name == "look_up"
    assert secrets.fill(found.mcp_servers[0].headers["Authorization"]) == "Bearer t"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("shop: {greting: Hi}", "shop.greting: Extra inputs are not permitted"),
        ("other: {}", "has no profile shop; it has other"),
        ("shop: [", "agents.yaml"),
        ("", "the file: Input should be a valid dictionary"),
        ("- shop", "the file: Input should be a valid dictionary"),
        (profile(mcp_servers=[{"url": "nowhere"}]), "shop.mcp_servers.0.url"),
        (profile(mcp_servers=[{"url": "https://me:pw@x/mcp"}]), "must not contain credentials"),
        (profile(mcp_servers=[{**SERVER, "headers": {"X-Key": "abc"}}]), "must name a secret of the worker"),
        (
            profile(mcp_servers=[{**SERVER, "headers": {"X-Key": "${LIVEKIT_API_SECRET}"}}]),
            "must name a secret",
        ),
        (profile(mcp_servers=[{**SERVER, "allowed_tools": []}]), "allowed_tools"),
        (profile(http_tools=[TOOL, TOOL]), "more than one tool has the name look_up"),
        (
            profile(http_tools=[{**TOOL, "name": "hang_up"}], hang_up=True),
            "no other tool can be named hang_up",
        ),
        (profile(http_tools=[{**TOOL, "secret": SECRET}]), "shop.http_tools.0.secret"),
        (
            profile(http_tools=[{**TOOL, "parameters": {"type": "array"}}]),
            "must be a JSON schema of an object",
        ),
        (
            profile(http_tools=[{**TOOL, "parameters": {"type": "object", "required": ["number"]}}]),
            "`required` must list names of `properties`",
        ),
        (profile(http_tools=[SIGNED]), "shop needs AGENT_SECRET_SHOP, which the worker's environment lacks"),
        (profile(limits={"silence_s": 0}), "shop.limits.silence_s"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ProfileInvalid) as invalid:
        read_profile(written(tmp_path, text), "shop", secrets=Secrets({"LIVEKIT_API_SECRET": "s"}))
    assert fault in str(invalid.value)
    assert SECRET not in str(invalid.value)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_a_secret_that_signs_nothing_is_named_and_not_shown(tmp_path: Path, secret: str) -> None:
    file, secrets = written(tmp_path, profile(http_tools=[SIGNED])), Secrets({"AGENT_SECRET_SHOP": secret})
    with pytest.raises(ProfileInvalid, match="AGENT_SECRET_SHOP must be whsec_") as invalid:
        read_profile(file, "shop", secrets=secrets)
    assert secret == "whsec_" or secret not in str(invalid.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileInvalid, match=r"nowhere\.yaml"):
        read_profile(tmp_path / "nowhere.yaml", "shop", secrets=Secrets({}))


@pytest.mark.parametrize(
    ("text", "metadata", "filled"),
    [
        ("Hello {{name}}!", {"name": "Anna"}, "Hello Anna!"),
        ("{{ shop.name }} has {{shop.count}}", {"shop": {"name": "Tulip", "count": 3}}, "Tulip has 3"),
        ("Hello {{name}}!", {}, "Hello !"),
        ("Hello {{name}}!", "a text", "Hello !"),
        ("Hello {{name}}!", {"name": ["a"]}, "Hello !"),
        ("Hello {{name}}!", {"name": "{{ other }}", "other": "x"}, "Hello {{ other }}!"),
        ("{name} {{}}", {"name": "Anna"}, "{name} {{}}"),
    ],
)
def test_variables_are_of_the_metadata(text: str, metadata: object, filled: str) -> None:
    assert fill_in(text, metadata) == filled
