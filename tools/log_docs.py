"""Make the catalogue of our log lines from the source; `make docs` writes it into docs/logs.md."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.services import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "logs.md"
# People write everything above this line.
MARK: Final = "<!-- `make docs` writes what follows -->\n"
_LIBRARY: Final = "rollcall-agent"  # the folder that holds the package
_FOLDERS: Final = ("services", "shared", _LIBRARY)
_LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
_LOUDNESS: Final = list(dict.fromkeys(_LEVELS.values()))
# The page describes these fields elsewhere.
_NOT_FIELDS: Final = {"message", "exc_info"}


@dataclass(frozen=True)
class LogCall:
    """One call of a logger. `event` is None if the name is not a literal.

    A field `…` stands for a whole mapping.
    """

    event: str | None
    level: str
    module: str
    line: int
    fields: tuple[str, ...]
    sentence: str | None


def read_calls(root: Path = REPOSITORY) -> list[LogCall]:
    """Return every call of every logger in services/, shared/ and the library."""
    files = sorted(file for folder in _FOLDERS for file in (root / folder).rglob("*.py"))
    return [call for file in files for call in calls_in(file.read_text(), module=_module(file, root))]


def calls_in(source: str, *, module: str) -> Iterator[LogCall]:
    """Return the calls of the loggers in this source."""
    tree = ast.parse(source)
    loggers, texts = loggers_in(tree), _texts(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (method := logging_method(node.func, loggers)) is not None:
            yield LogCall(
                event=_literal(node.args[0]) if node.args else None,
                level=_LEVELS.get(method, method),
                module=module,
                line=node.lineno,
                fields=tuple(key.arg or "…" for key in node.keywords if key.arg not in _NOT_FIELDS),
                sentence=next(
                    (_sentence(key.value, texts) for key in node.keywords if key.arg == "message"), None
                ),
            )


def loggers_in(tree: ast.AST) -> set[str]:
    """Return the names to which the source assigns the result of `get_logger`."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _gets_logger(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def logging_method(node: ast.AST, loggers: Iterable[str]) -> str | None:
    """Return the method's name, if this is a call of a logger."""
    if not isinstance(node, ast.Attribute):
        return None
    named = isinstance(node.value, ast.Name) and node.value.id in loggers
    return node.attr if named or _gets_logger(node.value) else None


def as_markdown(calls: Iterable[LogCall]) -> str:
    """Return the tables: one for each service, and one for `shared`."""
    found: dict[str, dict[str, list[LogCall]]] = {}
    for call in calls:
        if call.event is not None:
            found.setdefault(_part(call.module), {}).setdefault(call.event, []).append(call)
    return "".join(_section(part, events) for part, events in sorted(found.items()))


def reference() -> str:
    """Return the current page: its prose, and the catalogue from the source."""
    prose, _, _ = PAGE.read_text().partition(MARK)
    return prose + MARK + as_markdown(read_calls())


def _section(part: str, events: dict[str, list[LogCall]]) -> str:
    head = [f"### {part}", "", "| event | level | fields | message | module |", "|---|---|---|---|---|"]
    return "\n".join(["", *head, *(_row(event, calls) for event, calls in sorted(events.items())), ""])


def _row(event: str, calls: list[LogCall]) -> str:
    levels = sorted({call.level for call in calls}, key=_LOUDNESS.index)
    fields = dict.fromkeys(field for call in calls for field in call.fields)
    sentences = dict.fromkeys(call.sentence for call in calls if call.sentence)
    modules = dict.fromkeys(call.module for call in calls)
    cells = (
        f"`{event}`",
        ", ".join(levels),
        ", ".join(field if field == "…" else f"`{field}`" for field in fields),
        "; ".join(sentences),
        ", ".join(f"`{_within_its_part(module)}`" for module in modules),
    )
    return f"| {' | '.join(cells)} |"


def _gets_logger(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("get_logger", "getLogger")


def _literal(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _sentence(node: ast.AST, texts: Mapping[str, str]) -> str:
    """Return the sentence, with an ellipsis for each value that is filled in."""
    if isinstance(node, ast.IfExp):
        return f"{_sentence(node.body, texts)}; or {_sentence(node.orelse, texts)}"
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) or "…" for part in node.values)
    if isinstance(node, ast.Name):
        return texts.get(node.id, "…")
    return _literal(node) or "…"


def _texts(tree: ast.Module) -> dict[str, str]:
    """Return the module's text constants."""
    return {
        node.target.id: text
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if node.value is not None and (text := _literal(node.value)) is not None
    }


def _module(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == _LIBRARY else parts)


def _part(module: str) -> str:
    folder, name, *_ = module.split(".")
    return name if folder == "services" else folder


def _within_its_part(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[2:] or parts[1:])
