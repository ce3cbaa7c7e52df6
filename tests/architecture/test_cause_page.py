"""docs/why-didnt-my-agent-join.md explains every cause of the closed list, and no other."""

import re
from pathlib import Path
from typing import Final

import pytest

from shared.contracts.causes import Cause

PAGE: Final = Path(__file__).parents[2] / "docs" / "why-didnt-my-agent-join.md"
# The parts of each cause's explanation, in this order.
PARTS: Final = ("Looks like", "With LiveKit alone", "In Rollcall", "Do")
# Two sections of the third level come before the causes: they say how to look.
OTHER_HEADINGS: Final = {"With LiveKit alone", "In Rollcall"}


def sections() -> list[tuple[str, str]]:
    """Each heading of third level with its text, in the page's order."""
    parts = re.split(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [(name, text) for name, text in zip(parts[::2], parts[1::2], strict=True)]


def test_the_page_has_a_heading_for_each_cause_and_for_nothing_else() -> None:
    headings = [name for name, _ in sections() if name not in OTHER_HEADINGS]
    assert len(headings) == len(set(headings))
    assert set(headings) == set(Cause)


@pytest.mark.parametrize("cause", Cause)
def test_a_cause_is_explained_in_every_part(cause: Cause) -> None:
    [text] = [text for name, text in sections() if name == cause]
    text = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    assert re.match(r"\n\n[A-Z].+\n", text), "a section begins with the cause in one sentence"
    assert re.findall(r"^- \*\*(.+?):\*\* \S", text, re.MULTILINE) == list(PARTS)


def test_the_table_leads_to_each_cause_but_the_unknown_one() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| dispatches | participants |")[1].split("\n\n")[0]
    assert set(re.findall(r"\(#(\w+)\)", table)) == set(Cause) - {Cause.UNKNOWN}
