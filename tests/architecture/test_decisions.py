"""The index of the decisions matches their pages, and each page has alternatives."""

import re
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / "docs" / "adr"
PAGES: Final = sorted(FOLDER.glob("[0-9]*.md"))
PARTS: Final = ("Context", "Decision", "Consequences", "Alternatives")
_TITLE: Final = re.compile(r"# (\d+)\. (.+)\n")
_ROW: Final = re.compile(r"^\| \[(\d+)\]\(([^)]+)\) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_CHANGED: Final = re.compile(r"^\*Changed by \[ADR (\d+)\]\(([^)]+)\): .+\*$", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    """The index: number, file, title, decision, status."""
    return [match.groups() for match in _ROW.finditer((FOLDER / "README.md").read_text(encoding="utf-8"))]


def row_of(page: Path) -> tuple[str, str, str, str]:
    """The row that the index needs for a page: number, file, title, status."""
    text = page.read_text(encoding="utf-8")
    title = _TITLE.match(text)
    assert title, f"{page.name} does not begin with '# number. Title'"
    changed = _CHANGED.search(text)
    status = f"changed by [{changed[1]}]({changed[2]})" if changed else "accepted"
    return title[1], page.name, title[2], status


def has_part(text: str, part: str) -> bool:
    """Whether a part begins with its name, as a heading or in bold, and is not empty."""
    begin = rf"^(?:## {part}\n|\*\*{part}[^*\n]*\*\*)"
    another = rf"(?:## |\*\*)(?:{'|'.join(PARTS)})"
    return re.search(rf"{begin}\s*(?!{another})\S", text, re.MULTILINE) is not None


def test_the_index_has_a_row_for_each_page_in_order_and_none_besides() -> None:
    indexed = [(number, file, title, status) for number, file, title, _, status in rows()]
    assert indexed == [row_of(page) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_files_number_and_every_part(page: Path) -> None:
    assert int(row_of(page)[0]) == int(page.name[:4])
    text = page.read_text(encoding="utf-8")
    missing = [part for part in PARTS if not has_part(text, part)]
    assert not missing, f"{page.name} has no {', '.join(missing)}"


@pytest.mark.parametrize("page", [*PAGES, FOLDER / "README.md"], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    # Text between backquotes is an example.
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    linked = {target.split("#")[0] for target in re.findall(r"\]\(([^):]+)\)", text)}
    gone = {target for target in linked if target and not (FOLDER / target).exists()}
    assert not gone, f"{page.name} links to {sorted(gone)}"
