"""ARCHITECTURE.md describes states and packages as the code has them."""

import re
from pathlib import Path
from typing import Final

from shared.contracts.sessions import ALLOWED_TRANSITIONS
from tools.package_map import packages

PAGE: Final = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_table_of_states_is_the_table_of_transitions() -> None:
    section = PAGE.partition("## States of a session")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    said = {state.strip(" `"): set(re.findall(r"`(\w+)`", following)) for _, state, _, following, _ in rows}
    assert said == {
        str(state): {str(target) for target in targets} for state, targets in ALLOWED_TRANSITIONS.items()
    }


def test_every_package_says_what_it_does() -> None:
    silent = [str(folder) for folder, says in packages() if not says]
    assert not silent, f"{silent}: give each __init__.py a docstring"
