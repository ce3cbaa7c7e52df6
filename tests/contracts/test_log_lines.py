"""Every log line has its own name, which is in docs/logs.md, and no name has two meanings."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.platform.logs.logs import LIBRARY_EVENT
from tools.log_docs import MARK, PAGE, LogCall, as_markdown, calls_in, loggers_in, logging_method, read_calls

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LEVELS = {"debug", "info", "warning", "error", "critical"}
# Fields that are bound to a piece of work or set on every line: a call must not pass them with another
# meaning.
TAKEN = {"attempt", "event", "level", "logger", "service", "timestamp"}


def faults(calls: list[LogCall]) -> list[str]:
    """Return the faults of calls, each by itself and all together."""
    found = []
    homes = defaultdict(set)
    for call in calls:
        at = f"{call.module}:{call.line}"
        if call.event is None or not NAME.fullmatch(call.event):
            found.append(f"{at}: the event is no literal snake_case name")
        elif call.event == LIBRARY_EVENT:
            found.append(f"{at}: that is what libraries' lines are called")
        if call.level not in LEVELS:
            found.append(f"{at}: {call.level} is no level")
        found += [f"{at}: {field} is another thing" for field in sorted(TAKEN & set(call.fields))]
        homes[call.event].add(call.module)
    found += [f"{name} is used by {sorted(where)}" for name, where in homes.items() if len(where) > 1]
    return found


def logger_uses_that_are_no_calls(source: str) -> Iterator[int]:
    """Return lines that pass a logger or its method on, so that the catalogue can't see what is logged."""
    tree = ast.parse(source)
    loggers = loggers_in(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    seen = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr):
            continue
        if logging_method(node, loggers) in LEVELS | {"exception"} and id(node) not in called:
            yield node.lineno
        named = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in loggers
        if named and id(node) not in seen:
            yield node.lineno


def sources() -> list[Path]:
    return sorted(
        file for folder in ("services", "shared", "rollcall-agent") for file in (ROOT / folder).rglob("*.py")
    )


def test_every_call_keeps_to_the_rules() -> None:
    calls = [call for call in read_calls() if call.level not in ("addHandler", "setLevel")]
    assert len(calls) > 100, "the calls are not found any more"
    assert faults(calls) == []


def test_no_logger_is_handed_on() -> None:
    found = {str(file): list(logger_uses_that_are_no_calls(file.read_text())) for file in sources()}
    # This module configures the root logger.
    found.pop(str(ROOT / "shared/platform/logs/logs.py"))
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_the_catalogue_has_the_names_of_the_code_and_no_others() -> None:
    catalogue = PAGE.read_text().partition(MARK)[2]
    named = re.findall(r"^\| `(\w+)` \|", catalogue, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {call.event for call in read_calls() if call.level in LEVELS}


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ('log.info(f"room {name} closed")', "no literal"),
        ("log.info(NAME)", "no literal"),
        ('log.info("room closed")', "no literal"),
        ('log.info("RoomClosed")', "no literal"),
        ("log.exception()", "no literal"),
        ('log.warn("room_closed")', "no level"),
        ('get_logger("x").info("room closed")', "no literal"),
        ('logging.getLogger("x").info("room closed")', "no literal"),
        ('log.info("room_closed", attempt=3)', "another thing"),
        ('log.info("library_logged")', "libraries"),
    ],
)
def test_a_call_that_breaks_a_rule_is_found(call: str, fault: str) -> None:
    [found] = faults(list(calls_in(f"log = get_logger(__name__)\n{call}\n", module="services.x.y")))
    assert fault in found


@pytest.mark.parametrize("use", ["retry(before=log.info)", "retry(logger=log)"])
def test_a_logger_that_is_handed_on_is_found(use: str) -> None:
    assert list(logger_uses_that_are_no_calls(f"log = get_logger(__name__)\n{use}\n")) == [2]


def test_a_name_in_two_modules_is_found() -> None:
    source = 'log = get_logger(__name__)\nlog.info("room_closed", room_sid="RM_1")\n'
    calls = [call for module in ("services.a.b", "services.c.d") for call in calls_in(source, module=module)]
    assert faults(calls) == ["room_closed is used by ['services.a.b', 'services.c.d']"]


def test_the_catalogue_tells_levels_fields_and_sentences() -> None:
    source = """
SAID: Final = "it is shut"
log = get_logger(__name__)
log.info("door_closed", message=f"door {name} closed", **about)
log.exception("door_stuck", message=SAID, door=name)
log.warning("door_stuck", message="it is " if wet else f"it is {what}", exc_info=True)
"""
    assert as_markdown(calls_in(source, module="services.house.doors")).splitlines()[-2:] == [
        "| `door_closed` | info | … | door … closed | `doors` |",
        "| `door_stuck` | warning, error | `door` | it is shut; it is ; or it is … | `doors` |",
    ]
