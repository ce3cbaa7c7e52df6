"""Nothing leaves a job's process but what the user's function has made of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rollcall_agent.job.redact import FAILED, RedactedOutbox
from shared.contracts.causes import Cause
from shared.contracts.events import AgentError, AgentReported, Envelope, Step, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.sessions import Role

SESSION = SessionId("01a20607-45be-712a-9742-1692c79d7639")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


class Offered:
    """An outbox that keeps what it is offered."""

    def __init__(self) -> None:
        self.events: list[Envelope] = []

    def offer(self, stream: str, envelope: Envelope) -> bool:
        self.events.append(envelope)
        return True

    async def flush(self, *, within_s: float) -> bool:
        return True


def _without_digits(text: str) -> str:
    if "broken" in text:
        raise ValueError(text)
    return "".join("#" if character.isdigit() else character for character in text)


def _offered(event: Any) -> dict[str, Any]:
    outbox = Offered()
    envelope = wrap(event, session_id=SESSION, source="test", time=NOW)
    assert RedactedOutbox(outbox, _without_digits).offer("stream", envelope)
    (left,) = outbox.events
    assert left.id == envelope.id
    return left.data


@pytest.mark.parametrize(
    ("text", "left"), [("call 4711", "call ####"), ("broken 4711", FAILED), ("hello", "hello")]
)
def test_a_turn_leaves_redacted_and_whole_in_all_else(text: str, left: str) -> None:
    turn = TurnFinished(
        session_id=SESSION, attempt=1, seq=1, item_id="item_1", role=Role.USER, text=text, created_at=NOW
    )
    data = _offered(turn)
    assert data == {**turn.model_dump(mode="json"), "text": left}


def test_so_do_the_words_of_an_error() -> None:
    error = AgentError(type="LookupError", message="no customer 4711", cause=Cause.ENTRYPOINT_FAILED)
    report = AgentReported(
        session_id=SESSION,
        attempt=1,
        step=Step.ERROR,
        room_name="room",
        worker_id="AW_1",
        agent_name="own",
        job_id="AJ_1",
        error=error,
    )
    data = _offered(report)
    assert data["error"]["message"] == "no customer ####"
    assert data["error"]["type"] == "LookupError"
