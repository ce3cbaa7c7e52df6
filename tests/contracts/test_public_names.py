"""Public names don't change: routes, fields, events, metrics, log lines, settings and commands."""

import json

import pytest

from tests.contracts.public_names import FILE, read_names

HELD = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    return read_names()


@pytest.mark.parametrize("kind", HELD)
def test_no_public_name_is_gone(kind: str, names: dict[str, list[str]]) -> None:
    gone = sorted(set(HELD[kind]) - set(names[kind]))
    assert not gone, f"{gone}: somebody relies on them; docs/versions.md says how a name may go"


@pytest.mark.parametrize("kind", HELD)
def test_every_public_name_is_held(kind: str, names: dict[str, list[str]]) -> None:
    new = sorted(set(names[kind]) - set(HELD[kind]))
    assert not new, f"{new}: hold them with `python -m tests.contracts.public_names`"
