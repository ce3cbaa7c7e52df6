"""Records from a job's process can be logged, and contain nothing that the caller said."""

import logging
from typing import Any

from livekit.agents import AgentServer

from rollcall_agent.worker.address import is_connected
from services.agent.logs import JobRecords


def a_record(text: str, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("livekit.agents", logging.WARNING, "x.py", 1, text, None, None)
    vars(record).update(extra)
    return record


def test_what_callers_said_is_dropped() -> None:
    record = a_record("odd transcript", **{"lk.pii.transcript": "my card number", "room": "r"})
    assert JobRecords().filter(record)
    assert "my card number" not in str(vars(record))
    assert vars(record)["room"] == "r"


def test_a_traceback_leaves_the_message() -> None:
    record = a_record("failed\nTraceback: boom", message="failed\nTraceback: boom")
    record.exc_text = "Traceback: boom"
    JobRecords().filter(record)
    assert record.getMessage() == "failed"
    assert vars(record)["exception"] == "Traceback: boom"
    assert "message" not in vars(record)


def test_a_record_of_our_own_stays_as_it_is() -> None:
    record = a_record("hello")
    before = dict(vars(record))
    JobRecords().filter(record)
    assert vars(record) == before


def test_the_sdk_still_tells_whether_it_is_connected() -> None:
    assert not is_connected(AgentServer())
