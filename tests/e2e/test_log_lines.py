"""What operators read: each line of each process is one JSON object, and a session's lines name it."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.api.auth.auth_mode import OPEN_TO_ALL
from shared.platform.logs.logs import LIBRARY_EVENT
from tests.support.sessions import Rollcall, until
from tools.log_docs import read_calls

pytestmark = pytest.mark.e2e

OURS = ("migrate", "api", "dispatcher", "verifier", "agent", "transcripts", "webhooks", "inference")
LEVELS = {"debug", "info", "warning", "error", "critical"}
NAMES = {call.event for call in read_calls()} | {LIBRARY_EVENT}


def lines_of(rollcall: Rollcall, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rollcall.stack.process(name).log().splitlines()]


def lines_about(rollcall: Rollcall, session_id: str) -> list[dict[str, Any]]:
    lines = [line for name in OURS for line in lines_of(rollcall, name)]
    return sorted(
        (line for line in lines if line.get("session_id") == session_id), key=lambda line: line["timestamp"]
    )


async def test_every_line_of_every_process_is_an_object_with_a_name_a_level_and_a_time(
    rollcall: Rollcall,
) -> None:
    started = await rollcall.start()
    await rollcall.until_status(started["session_id"], "active")
    for service in OURS:
        lines = lines_of(rollcall, service)
        assert lines, f"{service} has said nothing"
        for line in lines:
            assert line["event"] in NAMES, line
            assert line["event"] != LIBRARY_EVENT or (line["logger"] and line["message"]), line
            assert line["level"] in LEVELS, line
            assert line["service"] == service, line
            at = datetime.fromisoformat(line["timestamp"])
            assert at.utcoffset() == timedelta(0), line
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"]), line
    await rollcall.end(started["session_id"])


async def test_a_sessions_lines_tell_how_it_got_its_agent(rollcall: Rollcall) -> None:
    started = await rollcall.start()
    session_id, room = started["session_id"], started["room_name"]
    active = await rollcall.until_status(session_id, "active")
    agent, sid = active["agent_identity"], active["agent_sid"]
    dispatch_id = active["attempts"][0]["dispatch_id"]
    await rollcall.end(session_id)
    await rollcall.until_gone(room)

    async def all_said() -> list[dict[str, Any]] | None:
        about = lines_about(rollcall, session_id)
        events = {line["event"] for line in about}
        return (
            about
            if {"job_accepted", "job_started", "agent_verified", "job_closed", "room_closed"} <= events
            else None
        )

    about = await until(all_said, what="the job and the room are closed")
    said = [line["message"] for line in about if "message" in line and line["event"] != LIBRARY_EVENT]
    assert sorted(said) == sorted(
        [
            f"starting agent dispatch process for room {room}",
            f"dispatching agent to room {room} (attempt 1/3)",
            f"room {room} is not there yet: the dispatch makes it",
            f"agent dispatched to room {room}: {dispatch_id}",
            f"verifying agent joined room {room}",
            f"agent verified in room {room}: {agent} (SID: {sid})",
        ]
    )
    assert {line["room"] for line in about if line["service"] != "transcripts"} == {room}
    attempted = [line for line in about if line["service"] in ("dispatcher", "verifier", "agent")]
    assert {line["attempt"] for line in attempted} == {1}
    assert {line["service"] for line in about} >= {"api", "dispatcher", "verifier", "agent"}
    assert all(line["job_id"] for line in about if line["service"] == "agent")


async def test_processes_say_how_they_started(rollcall: Rollcall) -> None:
    agent = {line["event"]: line for line in reversed(lines_of(rollcall, "agent"))}
    assert agent["environment_checked"]["message"] == "all required environment variables are set"
    assert agent["agent_named"]["agent_name"] == "agent"
    assert agent["livekit_connecting"]["message"] == "connecting to LiveKit"
    assert agent["worker_registered"]["message"].startswith("agent agent registered with worker id")
    assert agent["worker_registered"]["message"].endswith("it listens for dispatches")
    for name in ("dispatcher", "verifier"):
        [begun] = [line for line in lines_of(rollcall, name) if line["event"] == "celery_worker_started"]
        assert begun["message"] == "celery worker starting"
    [warned] = [line for line in lines_of(rollcall, "api") if line["event"] == "authentication_off"]
    assert (warned["level"], warned["message"]) == ("warning", OPEN_TO_ALL)
