"""Only `shared/core/sessions` writes the row of a session."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.core.sessions.tables import SessionRow

ROOT = Path(__file__).parents[2]
HOME = ROOT / "shared" / "core" / "sessions"
WRITES = {"update", "delete", "insert"}
COLUMNS = set(SessionRow.model_fields)


def sources() -> list[Path]:
    files = [file for folder in ("services", "shared") for file in (ROOT / folder).rglob("*.py")]
    return sorted(file for file in files if HOME not in file.parents and "migrations" not in file.parts)


def statements_in(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls such as `update(SessionRow)`, `sqlite.insert(SessionRow)` and `set_committed_value(row, …)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        written = node.args[0] if node.args else None
        if name == "set_committed_value" or (
            name in WRITES and isinstance(written, ast.Name) and written.id == "SessionRow"
        ):
            yield node


def assignments_in(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Yield assignments to columns of a parameter or variable that is a session's row."""
    yield from (node for node in _columns_set(tree) if ast.unparse(node.value).split(".")[-1] == "session")
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            rows = _rows_among(function.args)
            yield from (node for node in _columns_set(function) if ast.unparse(node.value) in rows)


def _columns_set(tree: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in COLUMNS:
            yield node


def _rows_among(arguments: ast.arguments) -> set[str]:
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    typed = {one.arg: ast.unparse(one.annotation) for one in every if one.annotation is not None}
    return {name for name, kind in typed.items() if kind.startswith("SessionRow")}


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_nobody_else_writes_a_session(file: Path) -> None:
    tree = ast.parse(file.read_text())
    written = [*statements_in(tree), *assignments_in(tree)]
    assert not written, [f"line {node.lineno}: {ast.unparse(node)}" for node in written]


@pytest.mark.parametrize(
    "source",
    [
        "update(SessionRow).where(a == b)",
        "await db.execute(delete(SessionRow))",
        "postgresql.insert(SessionRow).values(a=1)",
        "set_committed_value(row, 'status', 'ended')",
        "def change(one: SessionRow) -> None: one.next_check_at = None",
        "current.session.status = 'ended'",
    ],
)
def test_a_write_is_seen(source: str) -> None:
    tree = ast.parse(source)
    assert [*statements_in(tree), *assignments_in(tree)]
