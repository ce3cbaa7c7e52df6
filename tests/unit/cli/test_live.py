"""A session's news over a connection that breaks, and over one that stays."""

import json
from collections.abc import Iterator

import httpx
import pytest

import cli.client.live
from cli.client.answers import Caption, Turn
from cli.client.client import ApiError, Client
from cli.client.live import News
from shared.contracts.events import Envelope, SessionEnded, wrap
from shared.contracts.identifiers import SessionId
from shared.platform.clock import utc_now

_ENDED = wrap(SessionEnded(reason="over"), session_id=SessionId("s1"), source="test", time=utc_now())
_TURN = {
    "session_id": "s1",
    "attempt": 1,
    "seq": 2,
    "item_id": "item_1",
    "role": "user",
    "text": "Hello",
    "created_at": utc_now().isoformat(),
}


@pytest.fixture(autouse=True)
def _without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.client.live, "FIRST_DELAY_S", 0.0)


def frame(kind: str, data: object, sent_id: str | None = None) -> str:
    said = data if isinstance(data, str) else json.dumps(data)
    return f"event: {kind}\n{f'id: {sent_id}' + chr(10) if sent_id else ''}data: {said}\n\n"


def enveloped(kind: str, data: dict[str, object]) -> dict[str, object]:
    return {**_ENDED.model_dump(mode="json"), "type": kind, "data": data}


class Line:
    """Answers each connection with the next of these; `resumed` is the Last-Event-ID of each."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers: Iterator[httpx.Response | Exception] = iter(answers)
        self.resumed: list[str | None] = []
        self.client = Client(
            httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://api")
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.resumed.append(request.headers.get("Last-Event-ID"))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def news(self, after: str | None = None) -> list[News]:
        return [news async for news in self.client.live("s1", after=after)]


def stream(*frames: str) -> httpx.Response:
    return httpx.Response(200, text="".join(frames), headers={"content-type": "text/event-stream"})


async def test_what_happened_is_told_typed_until_nothing_more_will_come() -> None:
    line = Line(
        stream(
            frame("transcript.caption_changed.v1", enveloped("c", {"role": "user", "text": "Hel"})),
            frame("transcript.turn_finished.v1", enveloped("t", _TURN), "3.2"),
            frame("some.novelty.v9", "no JSON", "3.4"),
            frame("session.ended.v1", _ENDED.model_dump_json(), "4.2"),
        ),
        httpx.Response(204),
    )
    caption, turn, ended = await line.news()
    assert caption == News(None, Caption(role="user", text="Hel"))
    assert isinstance(turn.what, Turn)
    assert (turn.id, turn.what.id, turn.what.seq, turn.what.text) == ("3.2", "item_1", 2, "Hello")
    assert isinstance(ended.what, Envelope)
    assert ended.what.data == {"reason": "over"}
    assert line.resumed == [None, "4.2"]


async def test_a_broken_line_goes_on_where_it_broke_off() -> None:
    line = Line(
        stream(frame("session.ended.v1", _ENDED.model_dump_json(), "1")),
        httpx.ConnectError("away"),
        httpx.Response(503, json={"code": "too_many_followers"}),
        # A caption has no id, so nobody can continue from it.
        stream(frame("transcript.caption_changed.v1", enveloped("c", {"role": "user", "text": "Hel"}))),
        stream(frame("transcript.turn_finished.v1", enveloped("t", _TURN), "1.2")),
        httpx.Response(204),
    )
    assert len(await line.news(after="0")) == 3
    assert line.resumed == ["0", "1", "1", "1", "1", "1.2"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_told_and_not_tried_again(status: int) -> None:
    line = Line(httpx.Response(status, json={"code": "nope", "detail": "no"}))
    with pytest.raises(ApiError, match=f"{status} nope"):
        await line.news()


async def test_an_answer_that_is_no_stream_is_said_to_be_none() -> None:
    with pytest.raises(ApiError, match="not a stream of events"):
        await Line(httpx.Response(200, text="<html>")).news()
