"""Every promise names existing tests, and every file of fault tests has a promise."""

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = ROOT / "docs" / "promises.md"
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def _named() -> set[tuple[str, str]]:
    return set(_TEST.findall(TABLE.read_text(encoding="utf-8")))


def _tests_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


def test_each_test_that_a_promise_names_is_there() -> None:
    named = _named()
    gone = {
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or test not in _tests_of(ROOT / file)
    }
    assert named
    assert not gone, f"{sorted(gone)} are not there: {TABLE.name} promises what nothing shows"


def test_each_row_names_a_test() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    without = [row for row in rows if not row.startswith("| fault |") and not _TEST.search(row)]
    assert not without, f"no test shows these: {without}"


def test_each_file_of_fault_tests_has_a_promise() -> None:
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "faults").glob("test_*.py")}
    missing = files - {file for file, _ in _named()}
    assert not missing, f"{sorted(missing)}: say in {TABLE.name} what they show"
