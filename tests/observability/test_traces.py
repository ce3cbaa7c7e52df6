"""One trace for each session, from the request to the row in the database, as a real receiver gets it."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.observability.conftest import CONFIDENTIAL, QUESTION, UNSERVED, Observed
from tests.support.otlp import ReceivedSpan, ancestry, tree
from tests.support.sessions import until
from tests.support.workers import own_worker

pytestmark = pytest.mark.e2e

OF_AN_AGENT = ["POST /v1/sessions", "dispatch_session", "job_entrypoint"]
IN_ITS_SESSION = [*OF_AN_AGENT, "agent_session"]
# The last spans of a session, each of another process; spans are sent every five seconds.
LAST = {"session", "close_session", "job_entrypoint", "agent_session"}
# The SDK calls half a second in which its event loop didn't turn an error: here it tells of a busy machine.
STALL = "event_loop_blocked"


async def spans_of(observed: Observed, session_id: str, last: set[str]) -> list[ReceivedSpan]:
    """The spans of a session that is over, once they are all there."""

    async def all_there() -> list[ReceivedSpan]:
        spans = observed.traces.of_session(session_id)
        return spans if last <= {span.name for span in spans} else []

    try:
        found: list[ReceivedSpan] = await until(all_there, what="the session's last spans are received")
    except AssertionError:
        print(tree(observed.traces.of_session(session_id)))
        raise
    return found


async def test_a_conversation_is_one_trace_from_the_request_to_the_row(observed: Observed) -> None:
    session_id = observed.spoken["session_id"]
    turns = (await observed.rollcall.transcript(session_id))["items"]

    async def all_stored() -> bool:
        spans = observed.traces.of_session(session_id)
        return sum(span.name == "INSERT transcript_item" for span in spans) >= len(turns)

    await until(all_stored, what="the spans of all stored turns are received")
    spans = await spans_of(observed, session_id, LAST)
    print(tree(spans))
    assert len({span.trace_id for span in spans}) == 1
    assert [span.name for span in spans if span.parent_id == ""] == ["POST /v1/sessions"]
    assert {span.parent_id for span in spans} - {span.id for span in spans} == {""}, "no span is missing"
    chains = {tuple(ancestry(span, spans)) for span in spans}
    assert {
        ("POST /v1/sessions", "session"),
        ("POST /v1/sessions", "dispatch_session", "LiveKit CreateRoom"),
        ("POST /v1/sessions", "dispatch_session", "verify_session", "LiveKit ListParticipants"),
        (*OF_AN_AGENT, "room_connect"),
        (*IN_ITS_SESSION, "user_turn"),
        (*IN_ITS_SESSION, "agent_turn", "llm_node", "llm_request"),
        (*IN_ITS_SESSION, "agent_turn", "tts_node", "tts_request"),
        (*IN_ITS_SESSION, "agent_turn", "turn", "store_turn", "INSERT transcript_item"),
        (*OF_AN_AGENT, "job_shutdown"),
    } <= chains
    services = {span.service.removeprefix("rollcall-") for span in spans}
    assert services == {"api", "dispatcher", "verifier", "agent", "transcripts"}
    stored = [span for span in spans if span.name == "store_turn"]
    assert {span.attributes["rollcall.turn.seq"] for span in stored} == {item["seq"] for item in turns}
    assert not [span for span in spans if span.is_error and span.name != STALL]


async def test_the_spans_say_what_became_of_the_session(observed: Observed) -> None:
    spans = await spans_of(observed, observed.spoken["session_id"], LAST)
    by_name = {span.name: span for span in spans}
    whole = by_name["session"]
    assert whole.attributes["rollcall.session.status"] == "ended"
    assert whole.events == ["accepted", "assigned", "active", "ready", "first_speech"]
    assert by_name["dispatch_session"].attributes["rollcall.outcome"] == "accepted"
    verified = by_name["verify_session"]
    assert verified.attributes["rollcall.outcome"] == "joined"
    assert "poll" in verified.events
    assert by_name["job_entrypoint"].attributes["rollcall.session.id"] == observed.spoken["session_id"]


async def test_each_session_has_a_trace_of_its_own(observed: Observed) -> None:
    traces = set()
    for started in (observed.spoken, observed.canary):
        spans = await spans_of(observed, started["session_id"], LAST)
        sessions = {
            s.attributes["rollcall.session.id"] for s in spans if "rollcall.session.id" in s.attributes
        }
        assert sessions == {started["session_id"]}
        traces |= {span.trace_id for span in spans}
    assert len(traces) == 2


async def test_an_agent_of_a_users_own_is_in_the_trace_to_its_first_word(
    observed: Observed, tmp_path: Path
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": observed.traces.url}
    worker = own_worker(observed.rollcall, agent_name="own", log=tmp_path / "worker.log", env=env)
    async with worker:
        started = await observed.rollcall.start(agent_name="own")
        session_id = started["session_id"]

        async def greeted() -> bool:
            return bool((await observed.rollcall.transcript(session_id))["items"])

        await until(greeted, what="its first words are stored")
        await observed.rollcall.end(session_id)
        spans = await spans_of(observed, session_id, {*LAST, "dispatch_session", "llm_request", "turn"})
    print(tree(spans))
    assert len({span.trace_id for span in spans}) == 1
    assert [span.name for span in spans if span.parent_id == ""] == ["POST /v1/sessions"]
    chains = {tuple(ancestry(span, spans)) for span in spans}
    assert (*IN_ITS_SESSION, "agent_turn", "llm_node", "llm_request") in chains
    turns = [span for span in spans if span.name == "turn"]
    assert turns, "what it has said is a turn"
    entry = next(span for span in spans if span.name == "job_entrypoint")
    assert entry.attributes["rollcall.session.id"] == session_id


async def test_the_trace_of_a_session_that_nobody_serves_says_why(observed: Observed) -> None:
    found = await observed.rollcall.get(f"/v1/sessions?status=failed&agent_name={UNSERVED}")
    failed = found["sessions"][-1]
    spans = await spans_of(observed, failed["session_id"], {"session", "dispatch_session", "close_session"})
    assert len({span.trace_id for span in spans}) == 1
    cause = (await observed.rollcall.session(failed["session_id"]))["failure"]["cause"]
    for name in ("session", "dispatch_session"):
        [span] = [span for span in spans if span.name == name]
        assert span.is_error
        assert span.attributes["error.type"] == span.attributes["rollcall.cause"] == cause


async def test_nothing_that_is_said_and_no_secret_is_in_any_span(observed: Observed) -> None:
    await spans_of(observed, observed.spoken["session_id"], LAST)
    said = (await observed.rollcall.transcript(observed.spoken["session_id"]))["items"]
    assert {item["role"] for item in said} == {"assistant", "user"}
    stack = observed.rollcall.stack
    hidden: list[Any] = [
        QUESTION,
        *(item["text"] for item in said),
        CONFIDENTIAL["instructions"],
        *CONFIDENTIAL["metadata"].values(),
        CONFIDENTIAL["participant_identity"],
        CONFIDENTIAL["participant_name"],
        stack.livekit_api_secret,
        observed.spoken["participant_token"],
        "eyJ",
    ]
    assert not [text for text in hidden if text.strip(" .?!") in observed.traces.text]


async def test_the_join_histogram_leads_to_a_trace(observed: Observed) -> None:
    await spans_of(observed, observed.spoken["session_id"], LAST)
    # Of sessions that join within a second, the scraper sees the last of each bucket.
    known = {span.trace_id for span in observed.traces.spans if span.name == "POST /v1/sessions"}

    async def found() -> bool:
        exemplars = observed.observatory.prometheus.exemplars(
            'session_level_seconds_bucket{level="active"}', start=time.time() - 600, end=time.time()
        )
        assert all(set(labels) == {"trace_id"} for labels in exemplars)
        return bool(known & {labels["trace_id"] for labels in exemplars})

    await until(found, what="Prometheus knows a session's trace")
