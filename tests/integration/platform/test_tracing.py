"""Tracing in one process with a real receiver: parents, the content of spans, and harmless failures."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.transcripts.bootstrap import open_consumer
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.causes import Cause
from shared.contracts.events import wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DISPATCH_QUEUE, TURNS_STREAM
from shared.contracts.settings import TracingSettings
from shared.contracts.traceparent import trace_id_of
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import fail, record
from shared.platform.database.database import Database
from shared.platform.redis.streams import publish
from shared.platform.tracing import span_names as names
from shared.platform.tracing import tracing
from tests.integration.api_client import api_settings, in_process
from tests.integration.background import in_background
from tests.integration.rows import REQUESTED, a_turn, get_events, get_session, put_session
from tests.integration.transcripts.consuming import until_acknowledged
from tests.support.otlp import ReceivedSpan, Traces, receiving
from tests.support.sessions import until
from tests.unit.making import T0

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = f"{SAMPLED[:-2]}00"
OTHER = "00-aaaabbbbccccddddeeeeffff00001111-00f067aa0ba902b7-01"


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """What tracing changes for the whole process, put back."""
    theirs = logging.getLogger("opentelemetry")
    level = theirs.level
    yield
    theirs.setLevel(level)


@asynccontextmanager
async def tracing_to(url: str, *, content: bool = False) -> AsyncIterator[None]:
    settings = TracingSettings(otel_exporter_otlp_endpoint=url)
    tracing.configure_tracing(settings, service="test", content=content)
    try:
        yield
    finally:
        # In a thread: the receiver is on this loop.
        await asyncio.to_thread(tracing.stop_tracing)


@pytest.fixture
async def traces(as_it_was: None) -> AsyncIterator[Traces]:
    """Tracing is on; `sent` has what was recorded until now."""
    async with receiving() as received, tracing_to(received.url):
        yield received


async def sent(traces: Traces) -> dict[str, ReceivedSpan]:
    """The spans recorded so far, by name."""
    assert tracing._recorder is not None
    await asyncio.to_thread(tracing._recorder.provider.force_flush)
    return {span.name: span for span in traces.spans}


async def test_a_span_is_a_child_of_what_goes_on_in_its_session_or_of_the_session(
    traces: Traces,
) -> None:
    with tracing.span("outer", of=SAMPLED):
        inside = tracing.here(SAMPLED)
        with tracing.span("inner", of=SAMPLED, kind=tracing.Kind.CLIENT):
            pass
        with tracing.span("of no session"):
            pass
        with tracing.span("of another", of=OTHER):
            assert tracing.here(SAMPLED) == SAMPLED
    with tracing.span("nobody's"):
        assert tracing.begun_here() is None
    with tracing.span("first", begins=True):
        pass
    spans = await sent(traces)
    assert set(spans) == {"outer", "inner", "of no session", "of another", "first"}
    assert spans["outer"].parent_id == SAMPLED[36:52]
    assert inside is not None
    assert inside[36:52] == spans["outer"].id == spans["inner"].parent_id == spans["of no session"].parent_id
    assert (spans["of another"].trace_id, spans["of another"].parent_id) == (trace_id_of(OTHER), OTHER[36:52])
    assert spans["first"].parent_id == ""
    assert {s.trace_id for s in spans.values()} == {TRACE, trace_id_of(OTHER), spans["first"].trace_id}
    assert spans["inner"].kind == "CLIENT"
    assert spans["outer"].service == "rollcall-test"


async def test_an_exception_makes_an_error_by_its_type_and_its_message_stays_here(traces: Traces) -> None:
    def failing() -> None:
        with tracing.span("failing", of=SAMPLED):
            raise ValueError("she said: hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        failing()
    spans = await sent(traces)
    assert spans["failing"].is_error
    assert spans["failing"].attributes == {"error.type": "ValueError"}
    assert "hunter2" not in traces.text


@pytest.mark.parametrize("content", [False, True])
async def test_what_is_said_is_in_a_span_only_where_that_is_allowed(as_it_was: None, content: bool) -> None:
    async with receiving() as traces:
        async with tracing_to(traces.url, content=content):
            tracing.record("turn", of=SAMPLED, began=T0, ended=T0, content={"text": "hunter2"})
        assert ("hunter2" in traces.text) is content
        [span] = traces.spans
        assert span.span.start_time_unix_nano == T0.timestamp() * 1e9


async def test_a_trace_that_its_client_does_not_record_is_recorded_by_nobody(traces: Traces) -> None:
    with tracing.span("outer", of=UNSAMPLED):
        inside = tracing.here(UNSAMPLED)
        assert inside is not None
        assert inside.endswith("-00")
        tracing.record("inner", of=inside, began=1, ended=2)
    assert await sent(traces) == {}


async def test_the_switch_of_opentelemetry_itself_is_heeded(
    as_it_was: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with receiving() as traces:
        async with tracing_to(traces.url):
            with tracing.span("outer", of=SAMPLED, begins=True):
                assert tracing.record("inner", of=SAMPLED, began=1, ended=2) == SAMPLED
                assert tracing.here(SAMPLED) == SAMPLED
            with tracing.span("first", begins=True):
                assert tracing.begun_here() is None
        assert traces.spans == []


async def test_what_arrives_is_gone_on_from_and_what_is_malformed_is_not(traces: Traces) -> None:
    with tracing.arrived("00-nonsense"), tracing.span("alone"):
        assert tracing.begun_here() is None
    with tracing.arrived(SAMPLED), tracing.span("joined"):
        pass
    spans = await sent(traces)
    assert set(spans) == {"joined"}
    assert spans["joined"].parent_id == SAMPLED[36:52]


async def test_a_session_begins_its_trace_with_the_request_or_goes_on_with_its_clients(
    traces: Traces, sqlite_url: str, redis_url: str
) -> None:
    database = Database(sqlite_url)
    async with in_process(api_settings(sqlite_url, redis_url)) as client:
        own = await client.post(
            "/v1/sessions", json={"instructions": "hunter2", "metadata": {"x": "hunter2"}}
        )
        joined = await client.post("/v1/sessions", json={}, headers={"traceparent": SAMPLED})
        ignored = await client.post("/v1/sessions", json={}, headers={"traceparent": "nonsense"})
        wrong = await client.post("/v1/sessions", json={"mode": "x"}, headers={"X-Request-Id": "mine"})
        await client.get(f"/v1/sessions/{own.json()['session_id']}")
        await client.get("/v1/transcripts/search?q=hunter2", headers={"traceparent": OTHER})
        await client.get("/livez")
    await sent(traces)
    rows = [await get_session(database, answer.json()["session_id"]) for answer in (own, joined, ignored)]
    by_id = {span.id: span for span in traces.spans}
    begun = [by_id[row.traceparent[36:52]] for row in rows if row.traceparent]
    assert [(s.name, s.kind, s.parent_id) for s in begun] == [
        ("POST /v1/sessions", "SERVER", ""),
        ("POST /v1/sessions", "SERVER", SAMPLED[36:52]),
        ("POST /v1/sessions", "SERVER", ""),
    ]
    assert begun[0].attributes["http.response.status_code"] == 202
    assert begun[0].attributes["rollcall.session.id"] == rows[0].id
    [event] = await get_events(database, rows[0].id)
    assert event.traceparent == rows[0].traceparent
    # A problem names the request's trace, and the trace the name that the client has given.
    [refused] = traces.of(wrong.json()["trace_id"])
    assert wrong.headers["x-request-id"] == refused.trace_id
    assert refused.attributes["http.request.header.x-request-id"] == "mine"
    assert refused.attributes["http.response.status_code"] == 422
    # Reads are traced only if the client traces them, and without the search text.
    others = [span for span in traces.spans if span.id not in {s.id for s in (*begun, refused)}]
    assert [(span.name, span.parent_id) for span in others] == [("GET /v1/transcripts/search", OTHER[36:52])]
    assert "hunter2" not in traces.text
    await database.close()


async def test_without_tracing_a_session_hands_on_its_clients_trace(sqlite_url: str, redis_url: str) -> None:
    database = Database(sqlite_url)
    async with in_process(api_settings(sqlite_url, redis_url)) as client:
        joined = await client.post("/v1/sessions", json={}, headers={"traceparent": SAMPLED})
        plain = await client.post("/v1/sessions", json={})
    assert (await get_session(database, joined.json()["session_id"])).traceparent == SAMPLED
    assert (await get_session(database, plain.json()["session_id"])).traceparent is None
    await database.close()


async def headers_of_tasks(redis: Redis) -> list[dict[str, Any]]:
    messages = reversed(await redis.lrange(DISPATCH_QUEUE, 0, -1))
    return [json.loads(message)["headers"] for message in messages]


async def test_a_task_says_where_it_was_asked_for(
    database: Database, redis: Redis, relay: Relay, traces: Traces
) -> None:
    traced, plain = await put_session(database, traceparent=SAMPLED), await put_session(database)
    with tracing.span("ended here", of=SAMPLED):
        here = tracing.here(SAMPLED)
        async with database.write() as db:
            await record(db, traced, REQUESTED, now=T0)
            await record(db, plain, REQUESTED, now=T0)
    await relay.publish_events([traced.id])
    await relay.publish_events([plain.id])
    first, second = await headers_of_tasks(redis)
    assert first["traceparent"] == here != SAMPLED
    assert "traceparent" not in second
    assert [event.traceparent for event in await get_events(database, traced.id)] == [SAMPLED, here]
    assert [event.traceparent for event in await get_events(database, plain.id)] == [None, None]


async def test_a_session_that_fails_has_a_span_that_says_why_whoever_gives_it_up(
    database: Database, traces: Traces
) -> None:
    row = await put_session(database, traceparent=SAMPLED, accepted_at=T0)
    async with database.write() as db:
        assert await fail(db, row, cause=Cause.NO_WORKER_REGISTERED, evidence={"x": "hunter2"}, now=T0)
    lost = await get_session(database, row.id)
    async with database.write() as db:
        row.version -= 1  # a writer that comes too late
        row.status = "requested"
        assert not await fail(db, row, cause=Cause.UNKNOWN, evidence={}, now=T0)
    await sent(traces)
    [span] = traces.of(TRACE)
    assert (span.name, span.is_error, span.parent_id) == ("session", True, SAMPLED[36:52])
    assert span.attributes["error.type"] == span.attributes["rollcall.cause"] == lost.cause
    assert span.attributes["rollcall.session.status"] == "failed"
    assert span.events == ["accepted"]
    assert "hunter2" not in traces.text


async def test_a_stored_turn_has_its_span_if_its_trace_is_recorded(
    database: Database, database_url: str, redis: Redis, redis_url: str, traces: Traces
) -> None:
    row = await put_session(database)
    of = [SAMPLED, UNSAMPLED, None, OTHER]
    about: dict[str, Any] = {"session_id": SessionId(row.id), "source": "tests", "time": T0}
    turns = [wrap(a_turn(row.id, seq), **about, traceparent=context) for seq, context in enumerate(of, 1)]
    malformed = turns[2].model_copy(update={"traceparent": "nonsense"})
    await publish(redis, TURNS_STREAM, [*turns, malformed])
    settings = TranscriptsSettings(database_url=database_url, redis_url=redis_url)
    async with open_consumer(settings) as consumer, in_background(consumer.run()) as task:
        await until_acknowledged(redis, 5, task)

        async def traced() -> bool:
            await sent(traces)
            return len(traces.spans) >= 4

        await until(traced, what="the stored turns are traced")
    await sent(traces)
    assert sorted(span.name for span in traces.spans) == [names.INSERT_TURN] * 2 + [names.STORE_TURN] * 2
    for context, seq in ((SAMPLED, 1), (OTHER, 4)):
        stored, inserted = sorted(traces.of(trace_id_of(context)), key=lambda s: s.name, reverse=True)
        assert stored.parent_id == context[36:52]
        assert inserted.parent_id == stored.id
        assert stored.attributes["rollcall.turn.seq"] == seq
        assert stored.span.start_time_unix_nano <= inserted.span.start_time_unix_nano
        assert inserted.span.end_time_unix_nano <= stored.span.end_time_unix_nano
    assert a_turn(row.id, 1).text not in traces.text


async def test_a_collector_that_is_away_harms_nobody_and_is_told_of_once(
    as_it_was: None, free_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")  # it need not try again for 10 s
    with capture_logs() as logged:
        async with tracing_to(f"http://user:password@127.0.0.1:{free_port}"):
            for _ in range(3):
                with tracing.span("lost", of=SAMPLED):
                    pass
                await sent(Traces())
    told = [line for line in logged if line["event"] == "spans_not_sent"]
    assert [(line["log_level"], line["collector"]) for line in told] == [
        ("warning", f"127.0.0.1:{free_port}/v1/traces")
    ]
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_a_collector_that_never_answers_holds_up_neither_work_nor_the_end(as_it_was: None) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await answer.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = TracingSettings(otel_exporter_otlp_endpoint=f"http://127.0.0.1:{port}")
    tracing.configure_tracing(settings, service="test")
    for _ in range(5_000):  # more than its queue holds
        with tracing.span("lost", of=SAMPLED):
            pass
    await asyncio.wait_for(asked.wait(), 20)
    # By itself the SDK would wait for 30 s.
    await asyncio.wait_for(asyncio.to_thread(tracing.stop_tracing, within_s=0.05), 20)
    assert not answer.is_set(), "it has ended while the collector still kept it waiting"
    assert not tracing.is_tracing()
    answer.set()
    server.close()
    await server.wait_closed()


async def test_a_collector_that_refuses_is_told_of_and_one_that_is_back_too(as_it_was: None) -> None:
    with capture_logs() as logged:
        async with receiving(status=400) as traces, tracing_to(traces.url):
            for _ in range(2):
                with tracing.span("refused", of=SAMPLED):
                    pass
                await sent(traces)
            traces.status = 200
            with tracing.span("taken", of=SAMPLED):
                pass
            await sent(traces)
    told = [(line["event"], line.get("lost")) for line in logged if line["event"].startswith("spans_")]
    assert told == [("spans_not_sent", 1), ("spans_sent_again", 2)]
