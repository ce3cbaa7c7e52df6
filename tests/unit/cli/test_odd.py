"""Odd arguments and odd answers end in one sentence, never in a traceback; one clock; words for tokens."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.client.answers import Turn
from cli.client.client import session_path
from cli.client.errors import ApiError
from cli.main import app
from cli.render.show import reason_text
from cli.render.timeline import Lines, event_line
from shared.contracts.events import AgentSpoke, SessionEnded, SessionRequested, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import Mode
from tests.unit.cli.fake_api import Api

T0 = datetime(2026, 11, 23, tzinfo=UTC)
ODD = ["", " ", ".", "..", "a/b", "../v1/workers", "x?y", "é", "\x1b[2J", "\udcff", "x" * 300]


@pytest.mark.parametrize("odd", ODD)
def test_what_can_not_be_a_sessions_id_is_refused_before_it_becomes_another_path(odd: str) -> None:
    with pytest.raises(ApiError, match="is not a session's id") as refused:
        session_path(odd)
    assert str(refused.value).isascii()


@pytest.mark.parametrize("command", ["session", "end", "watch", "transcript"])
def test_every_command_that_takes_an_id_refuses_an_odd_one_in_a_sentence(
    command: str, tmp_path: Path
) -> None:
    for odd in ("", "..", "a/b"):
        done = CliRunner().invoke(
            app, [command, odd, "--api", "http://127.0.0.1:9", "--state", str(tmp_path)]
        )
        assert done.exit_code == 1
        assert isinstance(done.exception, SystemExit)
        assert "is not a session's id" in done.output


async def test_an_answer_that_the_api_would_not_give_is_named() -> None:
    api = Api()
    for path in ("/v1/sessions/s1", "/v1/sessions", "/v1/workers", "/v1/sessions/s1/events"):
        api.answer("GET", path, 200, {"sessionz": []})
    client = api.client()
    for asked in (client.session("s1"), client.sessions(), client.workers(), client.events("s1")):
        with pytest.raises(ApiError, match="is this Rollcall's API"):
            await asked


async def test_bytes_that_are_no_text_are_told_of() -> None:
    with pytest.raises(ApiError, match="not UTF-8 text"):
        await Api().client().start_session(room_name="\udcff")


def test_no_line_is_earlier_than_the_one_above_it_and_an_agent_speaks_before_its_words_are_done() -> None:
    def event(what: object, ms: int) -> object:
        return wrap(what, session_id=SessionId("s1"), source="t", time=T0 + timedelta(milliseconds=ms))  # type: ignore[arg-type]

    lines = Lines()
    requested = SessionRequested(room_name="r", agent_name="a", mode=Mode.PIPELINE)
    greeting = Turn(seq=1, role="assistant", text="Hello", created_at=T0 + timedelta(milliseconds=900))
    shown = [
        lines.of(event(requested, 0)),  # type: ignore[arg-type]
        lines.of(event(AgentSpoke(attempt=1), 1500)),  # type: ignore[arg-type]
        lines.of(greeting),
        lines.of(event(SessionEnded(reason="participant_disconnected"), 1400)),  # type: ignore[arg-type]
    ]
    stamps = [int(line.plain.split()[0]) for line in shown]
    assert stamps == [0, 1500, 1500, 1500]
    assert "session ended: the caller hung up" in shown[-1].plain


@pytest.mark.parametrize("token", ["participant_disconnected", "room closed", "a_new_token", "canary passed"])
def test_people_read_sentences_where_the_json_has_tokens(token: str) -> None:
    assert "_" not in reason_text(token)
    ended = wrap(SessionEnded(reason=token), session_id=SessionId("s1"), source="t", time=T0)
    assert "_" not in event_line(ended, T0).plain
    assert ended.data["reason"] == token
