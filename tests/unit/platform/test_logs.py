"""Logs: one JSON object a line, with what is bound, and without secrets."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import structlog

from shared.contracts.settings import LogSettings
from shared.platform.logs.logs import bound, carry_sentence, configure_logs, get_logger

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines(as_before: None, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Reads what was logged since the test called `configure`."""

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read


def configure(
    *,
    log_format: Literal["auto", "json", "console"],
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO",
) -> None:
    configure_logs(LogSettings(log_format=log_format, log_level=log_level), service="api")


def test_an_event_is_one_line_of_json_with_service_level_and_time(lines: Lines) -> None:
    configure(log_format="json")
    get_logger("module").info("agent_missing", attempt=2)
    [line] = lines()
    assert line["event"] == "agent_missing"
    assert (line["attempt"], line["level"], line["service"]) == (2, "info", "api")
    assert line["timestamp"].endswith("Z")


def test_a_text_with_line_breaks_stays_on_one_line(lines: Lines) -> None:
    configure(log_format="json")
    get_logger("module").warning("odd", text="one\ntwo\r\nthree\u2028four")
    assert lines()[0]["text"] == "one\ntwo\r\nthree\u2028four"


def test_the_standard_librarys_logging_comes_out_the_same(lines: Lines) -> None:
    configure(log_format="json")
    logging.getLogger("some.library").warning("hello %s", "world", extra={"color_message": "x"})
    [line] = lines()
    assert (line["event"], line["level"], line["service"]) == ("library_logged", "warning", "api")
    assert (line["logger"], line["message"]) == ("some.library", "hello world")
    assert "color_message" not in line


def test_what_is_bound_is_on_every_line_inside_and_on_none_outside(lines: Lines) -> None:
    configure(log_format="json")
    log = get_logger("module")
    with bound(session_id="s-1", room="room-1"):
        log.info("inside")
        logging.getLogger("some.library").warning("inside too")
        with bound(attempt=2):
            log.info("deeper")
    log.info("outside")
    inside, too, deeper, outside = lines()
    assert inside["session_id"] == too["session_id"] == deeper["session_id"] == "s-1"
    assert deeper["attempt"] == 2
    assert "attempt" not in inside
    assert "session_id" not in outside


def test_an_exception_is_on_its_line_with_its_type(lines: Lines) -> None:
    configure(log_format="json")
    try:
        int("no number")
    except ValueError:
        get_logger("module").exception("sweep_failed")
    [line] = lines()
    assert "ValueError" in json.dumps(line["exception"])
    assert "no number" in json.dumps(line["exception"])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exceptions_local_variables_stay_out_of_the_log(
    as_before: None, capsys: pytest.CaptureFixture[str], log_format: Literal["json", "console"]
) -> None:
    configure(log_format=log_format)

    def mint(api_secret: str) -> None:
        raise ValueError("can't mint")

    try:
        mint("hunter2" * 4)
    except ValueError:
        get_logger("module").exception("request_failed")
    out = capsys.readouterr().out
    assert "can't mint" in out
    assert "hunter2hunter2" not in out  # once, it is in the source line


def test_lines_below_the_level_are_not_written(as_before: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json", log_level="WARNING")
    get_logger("quiet").info("too quiet")
    get_logger("quiet").warning("loud enough")
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["loud enough"]


def test_noisy_libraries_are_heard_only_when_they_warn(lines: Lines) -> None:
    configure(log_format="json")
    logging.getLogger("httpx").info("HTTP Request: POST http://example.com/token?secret=1")
    logging.getLogger("httpx").warning("trouble")
    assert [line["message"] for line in lines()] == ["trouble"]


def test_without_a_terminal_the_format_is_json(as_before: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="auto")
    get_logger("module").info("hello")
    assert json.loads(capsys.readouterr().out)["event"] == "hello"


def test_the_console_format_is_for_people(as_before: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console")
    get_logger("module").info("hello", attempt=2)
    out = capsys.readouterr().out
    assert "hello" in out
    assert "attempt=2" in out
    assert not out.startswith("{")


def test_json_has_the_name_and_the_sentence_and_a_terminal_shows_the_sentence(
    as_before: None, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"message": "agent dispatched to room room-1: AD_1", "attempt": 2}
    configure(log_format="json")
    get_logger("services.dispatcher.dispatch").info("agent_dispatched", **said)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["message"]) == ("agent_dispatched", said["message"])
    configure(log_format="console")
    get_logger("services.dispatcher.dispatch").info("agent_dispatched", **said)
    logging.getLogger("uvicorn.error").info("Uvicorn running")
    ours, theirs = capsys.readouterr().out.splitlines()
    assert "agent dispatched to room room-1: AD_1" in ours
    assert "agent_dispatched" not in ours
    assert "attempt=2" in ours
    assert "Uvicorn running" in theirs
    assert "library_logged" not in theirs
    assert "message=" not in ours + theirs, "said twice"


def test_what_an_agents_job_logs_keeps_its_name_and_its_sentence(lines: Lines) -> None:
    # As in a job's process, whose records the SDK carries to the worker.
    structlog.configure(
        processors=[carry_sentence, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    job = structlog.stdlib.get_logger("rollcall_agent.job.running_job").bind()
    configure(log_format="json")
    job.info("job_started", message="the job has started", pid=7)
    logging.getLogger("some.library").warning("job_started")
    ours, theirs = lines()
    assert (ours["event"], ours["message"], ours["pid"]) == ("job_started", "the job has started", 7)
    assert (theirs["event"], theirs["message"]) == ("library_logged", "job_started")


def test_configuring_twice_does_not_write_twice(lines: Lines) -> None:
    configure(log_format="json")
    configure(log_format="json")
    get_logger("module").info("once")
    assert len(lines()) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_secret_that_slips_into_a_line_is_not_written(
    as_before: None, capsys: pytest.CaptureFixture[str], log_format: Literal["json", "console"]
) -> None:
    configure(log_format=log_format)
    secrets = [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYWxsZXIifQ.c2lnbmF0dXJlLW9mLWl0",
        "rollcall_sk_" + "a1B2" * 3 + "_" + "x" * 43,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ]
    for secret in secrets:
        get_logger("module").warning(
            "odd", url=f"wss://host/rtc?access_token={secret}&x=1", text=f"({secret})"
        )
    get_logger("module").warning("odd", url="postgresql://user:hunter2@host/db", mail="anna@example.com")
    try:
        int(secrets[0])
    except ValueError:
        get_logger("module").exception("failed")
    out = capsys.readouterr().out
    assert not [secret for secret in [*secrets, "hunter2"] if secret in out]
    assert "anna@example.com" in out
    assert "://***@host/db" in out
