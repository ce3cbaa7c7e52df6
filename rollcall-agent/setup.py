"""Build the wheel: the package, and inside of it the modules of `shared` that it uses.

The modules are those that a checkout has. In the wheel they are `rollcall_agent._shared`, so that an
environment gets one package, whose name nobody else has: `shared` is what many call a folder of their own.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHECKOUT = Path(__file__).resolve().parents[1]
IMPORT = re.compile(r"^(\s*(?:from|import) )shared\b", re.MULTILINE)


class BuildWithShared(build_py):
    """Copies the package, adds the modules, and has every import name them where they are now."""

    def run(self) -> None:
        """Build into `build_lib`."""
        super().run()
        if getattr(self, "editable_mode", False):
            return  # the checkout is on the path
        package = Path(self.build_lib) / "rollcall_agent"
        for module in sorted(used_modules(package)):
            target = package / "_shared" / module.relative_to(CHECKOUT / "shared")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
        for file in package.rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            file.write_text(IMPORT.sub(r"\1rollcall_agent._shared", text), encoding="utf-8")


def used_modules(package: Path) -> set[Path]:
    """The files of `shared` that the package imports, and those that these import."""
    found: set[Path] = set()
    waiting = list(package.rglob("*.py"))
    while waiting:
        for name in imports_in(waiting.pop()):
            new = set(files_of(name)) - found
            found |= new
            waiting += new
    return found


def imports_in(file: Path) -> Iterator[str]:
    """The dotted names that a file imports; of `from a import b` both a and a.b, since b may be a module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(name: str) -> Iterator[Path]:
    """The file of a module of `shared`, and the packages that it is in; none of another name."""
    parts = name.split(".")
    if parts[0] != "shared":
        return
    for length in range(1, len(parts) + 1):
        path = CHECKOUT.joinpath(*parts[:length])
        yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file())


setup(cmdclass={"build_py": BuildWithShared})
