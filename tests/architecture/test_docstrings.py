"""A public function's docstring names the errors that it raises itself. ruff checks that there is one."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef
# Our own mistakes, cancellation, and the way in which typer commands end.
NEVER_NAMED: Final = {"RuntimeError", "CancelledError", "Exit", "BadParameter"}


def public_functions(node: ast.AST, docs: tuple[str, ...] = ()) -> Iterator[tuple[Function, str]]:
    """Each public function and method, with its docstring and that of its class."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
            continue
        said = (*docs, ast.get_docstring(child) or "")
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child, said)
        else:
            yield child, " ".join(said)


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of nested functions."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def raised(function: Function) -> set[str]:
    """Return the classes that the function itself raises; a helper's own docstring names those it makes."""
    raises = (node.exc for node in own_nodes(function) if isinstance(node, ast.Raise) and node.exc)
    classes = (exc.func if isinstance(exc, ast.Call) else exc for exc in raises)
    names = {ast.unparse(one).rpartition(".")[2] for one in classes}
    return {name for name in names if name[0].isupper()} - NEVER_NAMED


def is_route(function: Function) -> bool:
    """Return whether the API's catalogue of errors and OpenAPI describe the function."""
    return any(ast.unparse(decorator).startswith("router.") for decorator in function.decorator_list)


def test_a_docstring_names_the_errors_that_its_function_raises() -> None:
    folders = [path.name for path in ROOT.iterdir() if (path / "py.typed").exists()]
    assert {"services", "shared", "cli", "devstack"} <= set(folders)
    unnamed = [
        f"{file.relative_to(ROOT)}:{function.lineno} {function.name} raises {name}"
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*.py"))
        for function, said in public_functions(ast.parse(file.read_text(encoding="utf-8")))
        for name in sorted(raised(function))
        if name not in said and not is_route(function)
    ]
    assert unnamed == []
