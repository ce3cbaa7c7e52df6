"""Make the list of packages in ARCHITECTURE.md from their docstrings; `make docs` writes it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from devstack.services import REPOSITORY

PAGE: Final = REPOSITORY / "ARCHITECTURE.md"
MARK: Final = "<!-- packages -->\n"
TOPS: Final = ("services", "shared", "rollcall-agent", "devstack", "cli", "tools", "deploy", "bench")


def packages(root: Path = REPOSITORY) -> Iterator[tuple[Path, str]]:
    """Yield the folder of each package, and the first line of its docstring; empty if it has none."""
    for top in TOPS:
        for file in sorted((root / top).rglob("__init__.py"), key=lambda file: file.parent):
            if "migrations" not in file.parts:
                lines = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()
                yield file.parent.relative_to(root), lines[0] if lines else ""


def reference() -> str:
    """Return the current page: its prose, and the list of packages."""
    prose, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    rows = "".join(f"| [{folder}]({folder}) | {says} |\n" for folder, says in packages())
    return f"{prose}{MARK}| folder | what it does |\n|---|---|\n{rows}"
