"""Which log lines of the processes reach the user's screen."""

import io
from pathlib import Path

from rich.console import Console

from devstack.log_console import INFO, WARNING, LogConsole
from tests.stack_fixtures.waiting import eventually


def _screen(**options: object) -> tuple[LogConsole, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, soft_wrap=True, highlight=False)
    return LogConsole(console, **{"level": INFO, **options}), output  # type: ignore[arg-type]


def test_a_json_line_becomes_a_readable_one() -> None:
    screen, output = _screen()
    screen.log_line(
        "api",
        '{"event": "session_started", "level": "info", "timestamp": "x", "room": "r1", "models": {"a": 1}}',
    )
    screen.log_line("api", '{"event": "agent_dispatched", "message": "agent dispatched", "attempt": 1}')
    screen.log_line(
        "livekit", '{"level":"info","ts":1,"logger":"livekit","caller":"x.go:1","msg":"starting"}'
    )
    assert output.getvalue().splitlines() == [
        '         api │ session_started room=r1 models={"a": 1}',
        "         api │ agent dispatched attempt=1",
        "     livekit │ starting",
    ]


def test_only_what_is_loud_enough_is_shown() -> None:
    screen, output = _screen(level=WARNING, muted={"livekit"}, longest=20)
    screen.log_line("api", '{"event": "fine", "level": "info"}')
    screen.log_line("api", '{"event": "agent_missing", "level": "warning", "cause": "no_worker_registered"}')
    screen.log_line("livekit", '{"msg": "somebody hung up", "level": "warn"}')
    screen.log_line("redis", "1:M 1 Jan 2026 * Ready to accept connections")
    screen.log_line("verifier", "worker: Warm shutdown (MainProcess)")
    for line in ("Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no"):
        screen.log_line("agent", line)
    assert output.getvalue().splitlines() == [
        "         api │ agent_missing cause=…",
        "       agent │ Traceback (most rece…",
        '       agent │   File "x.py", line …',
        "       agent │ ValueError: no",
    ]


async def test_what_is_added_to_the_logs_is_followed_and_nothing_older(tmp_path: Path) -> None:
    screen, output = _screen()
    old = tmp_path / "api.log"
    old.write_text("from an earlier run\n")
    async with screen.following(tmp_path):
        with old.open("a") as log:
            log.write("first\nhalf a li")
        await eventually(lambda: "first" in output.getvalue())
        (tmp_path / "agent.log").write_text("new file\n")
        with old.open("a") as log:
            log.write("ne\n")
    lines = output.getvalue().splitlines()
    assert sorted(lines) == ["         api │ first", "         api │ half a line", "       agent │ new file"]
