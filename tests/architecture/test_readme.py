"""The README is correct: its pages, commands, API fields, and the figures of its two measurements."""

import json
import re
from pathlib import Path
from typing import Final

import typer.main

from cli.main import app
from services.api.sessions.schemas import Started

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")


def figures(page: str, benchmark: str) -> list[str]:
    """Return the numbers in a row's second and third cell: bare, and with Rollcall."""
    [row] = re.findall(rf'^\|.*"{benchmark}".*$', page, re.MULTILINE)
    _, bare, rollcall, *_ = row.strip("|").split(" | ")
    return re.findall(r"\d+(?:\.\d+)?", f"{bare} {rollcall}")


def links(page: Path) -> set[Path]:
    """Return the pages to which a page links."""
    targets = re.findall(r"\]\(([^)\s#:]+\.md)[)#]", page.read_text(encoding="utf-8"))
    return {found for target in targets if (found := (page.parent / target).resolve()).is_file()}


def test_links_lead_from_it_to_every_page() -> None:
    seen: set[Path] = set()
    ahead = {ROOT / "README.md"}
    while ahead:
        page = ahead.pop()
        seen.add(page)
        ahead |= links(page) - seen
    lost = sorted(str(page.relative_to(ROOT)) for page in set((ROOT / "docs").rglob("*.md")) - seen)
    assert not lost, f"no link leads from README.md to {lost}"


def test_the_commands_that_it_shows_are_there() -> None:
    commands = set(typer.main.get_group(app).commands)
    shown = set(re.findall(r"\.venv/bin/rollcall (\w+)", README))
    assert shown
    assert shown <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_answer_that_it_shows_has_the_fields_of_the_api() -> None:
    [answer] = [
        found
        for block in re.findall(r"^```json\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
        if "session_id" in (found := json.loads(block))
    ]
    assert set(answer) == set(Started.model_fields)


def test_the_two_measurements_are_those_of_the_page_on_costs() -> None:
    costs = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    for benchmark in ("burst", "revive"):
        assert figures(README, benchmark) == figures(costs, benchmark)
