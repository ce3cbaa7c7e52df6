"""The code keeps to the glossary: each word has only its one meaning, and there are no metaphors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TOPS: Final = ("services", "rollcall-agent", "shared", "devstack", "cli")
LIVEKIT_SIDE: Final = (
    "services/agent/",
    "rollcall-agent/",
    "services/verifier/",
    "services/dispatcher/",
    "services/api/agent_sockets/",
    "shared/contracts/agent_calls.py",
    "shared/core/workers/",
    "shared/contracts/dispatching.py",
    "shared/contracts/keys.py",
)

# A word that is unusual or misleading, and the field's standard word.
INSTEAD: Final = {
    "door": "middleware",
    "wish": "request",
    "ledger": "repository",
    "rulings": "repository",
    "patience": "deadline",
    "tally": "counter",
    "letters": "dead letters",
    "screen": "console",
    "strangers": "other projects",
    "recall": "resume",
    "partner": "linked participant",
}
# The API's JSON must not lose a name (docs/versions.md), and it contains these.
KEPT: Final = {"AgentWish"}
OF_ONE_MEANING: Final = {
    "job": ("a LiveKit job; Celery has tasks, webhooks have deliveries", LIVEKIT_SIDE),
    "jobs": ("LiveKit jobs", LIVEKIT_SIDE),
    "refusal": (
        "what a worker answers to a job",
        ("shared/contracts/workers.py", *LIVEKIT_SIDE, "cli/doctor/"),
    ),
}


def names() -> Iterator[tuple[str, str]]:
    """Every module, class and function of ours, as (file, name)."""
    for top in TOPS:
        for file in sorted((ROOT / top).rglob("*.py")):
            where = str(file.relative_to(ROOT))
            yield where, file.stem
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield where, node.name


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


NAMES: Final = sorted({(where, name) for where, name in names() if name not in KEPT})


@pytest.mark.parametrize("word", INSTEAD)
def test_no_name_has_a_word_that_misleads(word: str) -> None:
    found = [
        f"{where}: {name}" for where, name in NAMES if word in words_of(name) and "dead" not in words_of(name)
    ]
    assert not found, f"say {INSTEAD[word]}: {found}"


@pytest.mark.parametrize("word", OF_ONE_MEANING)
def test_a_word_of_one_meaning_is_used_for_it_alone(word: str) -> None:
    meaning, places = OF_ONE_MEANING[word]
    found = [
        f"{where}: {name}" for where, name in NAMES if word in words_of(name) and not where.startswith(places)
    ]
    assert not found, f"`{word}` is {meaning}: {found}"
