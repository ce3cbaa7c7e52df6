"""What the user sees: times, captions, the state of the fleet; and which API a command asks."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from cli.call.microphone import NoMicrophone, open_devices
from cli.client.answers import Caption, Turn
from cli.client.client import ApiError, open_client, open_http
from cli.client.live import News
from cli.client.show_error import error_of
from cli.client.target import Target
from cli.main import app
from cli.render.captions import CaptionConsole
from cli.render.show import ago, local, local_short
from cli.render.watch import Watch
from devstack.state import write_stack_file
from shared.contracts.events import SessionEnded, wrap
from shared.contracts.identifiers import SessionId

_T0 = datetime(2026, 11, 23, 23, 30, 5, 120_000, tzinfo=UTC)


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
def test_times_are_in_the_users_zone_which_is_named() -> None:
    assert local(_T0) == "2026-11-24 00:30:05 CET"
    assert local("2026-11-23T23:30:05.120Z", millis=True) == "2026-11-24 00:30:05.120 CET"
    assert local(None) == ""
    assert local_short(_T0 - timedelta(days=300)) == "01-28 00:30:05"
    now = datetime.now(UTC)
    assert local_short(now) == now.astimezone().strftime("%H:%M:%S")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (61, "1 min"), (7_300, "2 h"), (200_000, "2 d")]
)
def test_how_long_ago_is_one_figure(seconds: int, text: str) -> None:
    assert ago(_T0, _T0 + timedelta(seconds=seconds)) == text


def screen(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=40, soft_wrap=True), file


def test_a_caption_stands_beneath_what_was_said_and_goes_with_its_turn() -> None:
    console, file = screen(terminal=True)
    with CaptionConsole(console) as captions:
        captions.caption(Caption(role="user", text="what are your \x1b[2Jopening"))
        assert "what are your  [2Jopening"[-17:] in file.getvalue()
        captions.print(Text("said"))
        before = len(file.getvalue())
        captions.caption(Caption(role="user", text=""))
        assert "opening" not in file.getvalue()[before:]


def test_captions_are_not_written_to_a_file() -> None:
    console, file = screen(terminal=False)
    with CaptionConsole(console) as captions:
        captions.caption(Caption(role="user", text="half a word"))
        captions.print(Text("a turn"))
    assert file.getvalue() == "a turn\n"


def test_a_turn_is_shown_once_in_the_place_of_its_caption() -> None:
    lines: list[Text] = []
    captions: list[Caption] = []
    watch = Watch(show=lines.append, caption=captions.append)
    ended = wrap(SessionEnded(reason="over"), session_id=SessionId("s1"), source="test", time=_T0)
    turn = Turn(seq=1, id="item_1", role="user", text="Hello", created_at=_T0 + timedelta(seconds=1))
    watch.take(News("1", ended))
    watch.take(News(None, Caption(role="user", text="Hel")))
    watch.take(News("1.1", turn))
    watch.turn(turn)
    assert [line.plain for line in lines] == [
        "       0 ms  · session ended: over",
        "    1000 ms   caller: Hello",
    ]
    assert [caption.text for caption in captions] == ["Hel", ""]


def test_the_api_is_the_one_that_was_named_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLCALL_URL", raising=False)
    monkeypatch.delenv("ROLLCALL_API_KEY", raising=False)
    assert Target.of(None, None, tmp_path).url == "http://127.0.0.1:8080"
    write_stack_file(tmp_path, api_url="http://stack", env={"LIVEKIT_API_SECRET": "s", "HOME": "/"})
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0
    assert Target.of(None, None, tmp_path).url == "http://stack"
    (tmp_path / ".env").write_text("ROLLCALL_URL=http://file/\nROLLCALL_API_KEY=from-file\n")
    assert Target.of(None, None, tmp_path) == Target("http://file", "from-file")
    monkeypatch.setenv("ROLLCALL_URL", "http://environment")
    assert Target.of(None, None, tmp_path).url == "http://environment"
    assert Target.of("http://option", "key", tmp_path) == Target("http://option", "key")
    assert "rk_1" not in repr(Target("http://option", "rk_1"))


async def test_the_key_goes_with_every_request() -> None:
    async with open_http("http://api", key="rk_1") as http:
        assert http.headers["Authorization"] == "Bearer rk_1"
    async with open_http("http://api") as http:
        assert "Authorization" not in http.headers


@pytest.mark.parametrize(
    ("url", "key"), [("api:8080", None), ("http://api:port", None), ("http://api", "schlüssel\n")]
)
async def test_an_address_or_a_key_that_is_none_is_said_to_be(url: str, key: str | None) -> None:
    with pytest.raises(ApiError, match=r"not an address of an API|not an API key") as refused:
        async with open_client(url, key=key) as client:
            await client.workers()
    assert "schl" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, {"code": "session_not_found", "detail": "none"}, "GET /x: 404 session_not_found: none"),
        (
            401,
            {"code": "key_missing", "detail": "no key"},
            "GET /x: 401 key_missing: no key\ngive an API key",
        ),
        (503, {"code": "c", "detail": "Why. Do it.", "advice": "Do it."}, "GET /x: 503 c: Why.\nDo it."),
        (502, "<html>", "GET /x: 502 <html>"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(status: int, body: object, message: str) -> None:
    answer = httpx.Response(status, text=body) if isinstance(body, str) else httpx.Response(status, json=body)
    told = error_of("GET", "/x", answer)
    assert str(told).startswith(message)
    assert told.status == status


def test_without_a_microphone_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(NoMicrophone, match=r"libportaudio2.*sounddevice"):
        open_devices()
    called = CliRunner().invoke(app, ["call", "--mic", "--api", "http://127.0.0.1:9"])
    assert (called.exit_code, called.stdout) == (1, "")
    assert "no microphone" in called.stderr


@pytest.mark.parametrize(
    "words", [["call"], ["call", "Hello.", "--mic"], ["transcript", "s", "--json", "--format", "txt"]]
)
def test_what_contradicts_itself_is_refused(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_help_and_completion_load_no_library_that_they_do_not_need() -> None:
    heavy = "{'httpx', 'redis', 'celery', 'sqlalchemy', 'livekit', 'aiohttp', 'numpy', 'pydantic'}"
    code = f"import sys, cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
