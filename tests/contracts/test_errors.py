"""Every error has its entry in the catalogue, and the catalogue its page."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.api.errors.catalogue import CATALOGUE, as_markdown

ROOT = Path(__file__).parents[2]
# Codes made from an HTTP status, by the framework or by us.
OF_A_STATUS = {
    "bad_request": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
}


def raised() -> Iterator[tuple[str, int | None]]:
    """Return every code of a problem in the API's source, with its status if the source names it."""
    for file in sorted((ROOT / "services" / "api").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            words: list[Any] = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.id == "Problem" and len(words) >= 2 and isinstance(words[1], str):
                yield words[1], words[0]
            elif node.func.id == "_refused":  # of a key, always 401
                yield words[0], 401


def test_every_error_is_in_the_catalogue_with_its_status() -> None:
    found = {**OF_A_STATUS, **dict(raised())}
    assert {code: CATALOGUE[code].status for code in found if code in CATALOGUE} == found
    assert set(found) == set(CATALOGUE)


def test_the_page_of_errors_is_the_catalogue() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    assert page == as_markdown(), "python -m services.api.errors.catalogue > docs/errors.md"


def test_an_entry_says_what_it_means_and_what_to_do() -> None:
    for code, entry in CATALOGUE.items():
        assert code.replace("_", "").isalpha()
        assert entry.meaning.endswith(".")
        assert entry.advice.endswith(".")
