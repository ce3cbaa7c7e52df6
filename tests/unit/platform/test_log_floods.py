"""A repeated line is written a few times and then counted; no session's line gets lost."""

import json
import logging
import queue
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from shared.contracts.settings import LogSettings
from shared.platform.logs.floods import MOST, FloodFilter
from shared.platform.logs.logs import bound, configure_logs, get_logger

Written = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured() -> FloodFilter:
    """The filter of what this process writes."""
    configure_logs(LogSettings(log_format="json"), service="tests")
    [handler] = logging.getLogger().handlers
    return next(one for one in handler.filters if isinstance(one, FloodFilter))


def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_a_flood_of_one_line_is_summed_up(capsys: pytest.CaptureFixture[str], level: int) -> None:
    floods = configured()
    for port in range(1000):
        logging.getLogger("uvicorn.error").log(level, f"Invalid HTTP request received from port {port}.")
        get_logger("services.api").log(level, "connection_refused", port=port)
    floods.tell_what_was_left_out()
    lines = written(capsys)
    assert len(lines) == 2 * (MOST + 1)
    summed_up = [line for line in lines if line["event"] == "lines_left_out"]
    assert [line["number"] for line in summed_up] == [1000 - MOST] * 2
    assert {line["of"] for line in summed_up} == {"uvicorn.error", "services.api"}
    assert {line["level"] for line in lines} == {logging.getLevelName(level).lower()}
    assert summed_up[1]["message"] == "990 more in the last 10 s: connection_refused"


def test_a_summary_is_written_without_a_further_line() -> None:
    told: queue.Queue[tuple[Any, ...]] = queue.Queue()
    floods = FloodFilter(lambda *what: told.put(what), window_s=0.5)
    for _ in range(MOST + 5):
        floods.filter(logging.makeLogRecord({"name": "a", "levelno": logging.ERROR, "msg": "failed"}))
    assert told.get(timeout=30) == ("a", logging.ERROR, "failed", 5)
    assert told.empty()


def test_each_session_is_told_of_however_many_fail(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    for number in range(10 * MOST):
        get_logger("services.verifier").error("session_failed", session_id=f"s-{number}")
        with bound(session_id=f"s-{number}"):
            get_logger("services.verifier").warning("agent_missing")
            logging.getLogger("a.library").warning("something odd")
    assert len(written(capsys)) == 3 * 10 * MOST


def test_lines_of_ordinary_life_are_all_written(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    for _ in range(10 * MOST):
        get_logger("services.api").info("session_started")
    assert len(written(capsys)) == 10 * MOST


def test_after_a_while_a_line_is_written_again() -> None:
    now = [0.0]
    floods = FloodFilter(lambda *_: None, clock=lambda: now[0])
    record = logging.makeLogRecord({"name": "a", "levelno": logging.WARNING, "msg": "odd"})
    assert [floods.filter(record) for _ in range(MOST)] == [True] * MOST
    now[0] = 11.0
    assert [floods.filter(record) for _ in range(MOST + 1)] == [True] * MOST + [False]


def test_made_up_kinds_take_no_memory_without_end() -> None:
    floods = FloodFilter(lambda *_: None)
    for number in range(10_000):
        text = f"kind {chr(0x4E00 + number)}"
        floods.filter(logging.makeLogRecord({"name": "a", "levelno": logging.WARNING, "msg": text}))
    assert len(floods._windows) <= 4096
