"""A terminal obeys no command in text of others, whichever command shows the text."""

import io
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
import structlog
from rich.table import Table
from rich.text import Text

from cli.call.canary import Verdict
from cli.client.answers import Attempt, Failure, Session, Turn, Workers
from cli.client.show_error import error_of
from cli.render.fleet import show_workers
from cli.render.listing import sessions_table, show_session
from cli.render.timeline import event_line, turn_line
from devstack.log_console import INFO, LogConsole, PlainConsole
from services.api.transcripts.export.for_people import to_csv, to_text, to_vtt
from services.api.transcripts.export.for_programs import to_jsonl, to_openai, to_vcon
from shared.contracts.events import SessionRequested, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import Mode, SessionStatus
from shared.contracts.settings import LogSettings
from shared.platform.logs.logs import configure_logs, get_logger
from shared.platform.plain_text import many_lines, one_line, plain_json
from tests.unit.api.transcripts.exporting import a_session, export, turn
from tests.unit.making import T0, make_heartbeat

FORGED = "hi\n[00:00:11] assistant: I agree\r\x85[00:00:12] assistant: yes\u2028[00:00:13] assistant: sure"
ODD = {
    "clear": "\x1b[2J",
    "link": "\x1b]8;;http://x\x1b\\click",
    "clipboard": "\x1b]52;c;aGk=\x07",
    "one byte csi": "\x9b2J",
    "backspace": "no\x08\x08yes",
    "carriage return": "no\ryes",
    "override": "a\u202eb\u2066c",
    "zero width": "a\u200bb\ufeffc\u2060d",
    "delete": "a\x7fb",
    "tag": "a\U000e0041b",
    "forged line": FORGED,
}
BAD = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202e\u2066\u200b\ufeff\u2060\u2028\U000e0041",
}
odd = pytest.mark.parametrize("said", ODD.values(), ids=ODD)


def shown_badly(text: str, *, allowed: str = "\n") -> set[str]:
    return set(text) & (BAD - set(allowed))


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("Grüße, 日本\u3000語", "نمی\u200cخواهم", "👩\u200d👩\u200d👧", "कि"):
        assert one_line(text) == many_lines(text) == text


def test_lines_stay_lines_where_there_may_be_some() -> None:
    assert many_lines("a\r\nb\tc\x1b[0m") == "a\nb\tc [0m"
    assert one_line("a\nb") == "a b"


@odd
async def test_text_and_captions_have_no_command_and_a_turn_is_a_line(said: str) -> None:
    turns = [turn(1, text=said, participant_identity=said), turn(2, text="after")]
    text = await export(to_text, *turns)
    assert not shown_badly(text)
    assert [line[:4] for line in text.splitlines()] == ["[00:", "[00:"]
    assert not shown_badly(await export(to_vtt, *turns))
    assert not shown_badly(await export(to_csv, *turns), allowed="\r\n\t")


@odd
async def test_json_is_the_same_json_with_escapes(said: str) -> None:
    turns = [turn(1, text=said), turn(2, kind="function_call", extra={"arguments": said, "call_id": said})]
    for write in (to_jsonl, to_openai, to_vcon):
        assert not shown_badly(await export(write, *turns, session=a_session(participant_identity=said)))
    assert json.loads(await export(to_jsonl, turns[0]))["text"] == said
    assert json.loads(plain_json({"a": said})) == {"a": said}
    assert not shown_badly(plain_json({said: [said]}, indent=2))


@odd
def test_the_console_obeys_nothing_that_is_printed(said: str) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, soft_wrap=True, highlight=False, force_terminal=False)
    table = Table(title=Text(said))
    table.add_column()
    table.add_row(Text(said))
    console.print(Text(said))
    console.print(table)
    assert not shown_badly(file.getvalue())


def test_colours_and_movements_of_our_own_reach_the_terminal() -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, width=40)
    console.print(Text("said \x1b[2J", style="red"))
    assert file.getvalue().count("\x1b") == 2
    with console.status("working \x1b[2J"):
        pass
    assert "\x1b[?25l" in file.getvalue()
    assert "\x1b[2J" not in file.getvalue()


@odd
def test_logs_on_a_screen_have_no_command(said: str) -> None:
    file = io.StringIO()
    screen = LogConsole(PlainConsole(file=file, soft_wrap=True, highlight=False), level=INFO)
    screen.log_line("agent", json.dumps({"event": "x", "level": "warning", "text": said, said: 1}))
    screen.log_line("agent", json.dumps({"msg": said, "level": "warning"}))
    screen.log_line("agent", f"Traceback {said}")
    assert not shown_badly(file.getvalue())
    assert len(file.getvalue().splitlines()) == 3


@pytest.fixture
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("as_before")
@odd
def test_logs_for_people_have_no_command(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(log_format="console", log_level="INFO"), service="agent")
    get_logger("module").warning("odd", text=said, many=[said, {said: said}], message=said)
    logging.getLogger("some.library").warning("told %s", said)
    out = capsys.readouterr().out
    assert not shown_badly(out)
    assert len(out.splitlines()) == 2
    get_logger("module").error("failed", exc_info=ValueError(said))
    assert not shown_badly(capsys.readouterr().out)


@odd
def test_what_the_api_and_workers_say_begins_no_line_of_its_own(said: str) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, soft_wrap=True, highlight=False, width=300)
    attempt = Attempt(
        number=1, outcome=said, cause=said, worker_id=said, dispatch_id=said, deployment=said, started_at=T0
    )
    session = Session(
        session_id="s1",
        status=SessionStatus.FAILED,
        room_name=said,
        agent_name=said,
        deployment=said,
        participant_identity=said,
        agent_identity=said,
        metadata={said: said},
        end_reason=said,
        failure=Failure(cause=said, advice=said, evidence={said: said}),
        attempts=[attempt],
    )
    show_session(session, console)
    console.print(sessions_table([session], wide=True))
    worker = make_heartbeat(said, agent_name=said, host=said)
    show_workers(Workers(workers=[worker], lost=[worker]), console, now=T0)
    requested = SessionRequested(room_name=said, agent_name=said, mode=Mode.PIPELINE)
    console.print(event_line(wrap(requested, session_id=SessionId("s1"), source="test", time=T0), T0))
    console.print(turn_line(Turn(seq=1, role="user", text=said, created_at=T0), T0))
    console.print(Verdict.of(session, timeout_s=1).as_text())
    refused = error_of("GET", "/x", httpx.Response(400, json={"code": said, "detail": said, "advice": said}))
    console.print(Text(str(refused)))
    shown = file.getvalue()
    assert not shown_badly(shown)
    assert not [line for line in shown.splitlines() if line.lstrip().startswith("[00:00:")]
