"""Any spoken or written text gets into the database, the same on both, and holds up nothing else."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from livekit.agents.llm import FunctionCall, FunctionCallOutput
from redis.asyncio import Redis
from sqlalchemy import select
from sqlmodel import col

from rollcall_agent.job.publish import Publisher
from rollcall_agent.job.turns import TurnLog
from rollcall_agent.report import Reporter
from rollcall_agent.spool.spool import JobSpool, SpooledOutbox
from rollcall_agent.spool.spool_file import SpoolFile
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import AgentError, AgentReady, Step, TurnFinished, wrap
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import DEAD_LETTERS_STREAM, ENVELOPE_FIELD, REPORTS_STREAM, TURNS_STREAM
from shared.contracts.sessions import SessionStatus
from shared.contracts.text import MAX_TEXT_BYTES
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import record
from shared.core.sessions.tables import EventRow, SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.core.workers.backend import RedisBackend
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.redis.streams import publish
from tests.integration.api_client import start
from tests.integration.background import in_background
from tests.integration.rows import a_turn, get_attempts, put_session
from tests.integration.transcripts.consuming import consuming, reasons, say, until_acknowledged
from tests.integration.verifier.test_reports import a_report, handled
from tests.integration.verifier.test_reports import consuming as consuming_reports
from tests.support.sessions import until
from tests.unit.agent.agent_fakes import FACTS
from tests.unit.making import T0, FakeClock
from tests.unit.rollcall_agent.test_turns import a_message

pytestmark = pytest.mark.sql

_JSON = {"Content-Type": "application/json"}
HALF = "\ud83d"
ANYTHING = {
    "half a character": (HALF, "\ufffd"),
    "nul": ("a\x00b", "ab"),
    "half a megabyte": ("x" * 530_000, "x" * MAX_TEXT_BYTES),
    "many escapes": ("\x01" * 530_000, "\x01" * MAX_TEXT_BYTES),
    "emoji": ("🙂" * 200_000, "🙂" * (MAX_TEXT_BYTES // 4)),
}


async def items(database: Database, session_id: str) -> list[TranscriptItemRow]:
    query = select(TranscriptItemRow).where(col(TranscriptItemRow.session_id) == session_id)
    async with database.read() as db:
        return list((await db.scalars(query.order_by(col(TranscriptItemRow.seq)))).all())


@pytest.mark.parametrize(("said", "stored"), ANYTHING.values(), ids=ANYTHING)
async def test_whatever_a_tool_returns_is_stored_and_so_is_all_after_it(
    database: Database,
    database_url: str,
    redis: Redis,
    redis_url: str,
    tmp_path: Path,
    said: str,
    stored: str,
) -> None:
    row = await put_session(database)
    order = DispatchOrder(session_id=SessionId(row.id), attempt=1)
    publisher = Publisher(RedisBackend(redis))
    publisher.start()
    spool = JobSpool(tmp_path, failures=SharedCounter())
    # Without a spool, the publisher is all that a turn has.
    outbox = SpooledOutbox(publisher, spool) if said != HALF else publisher
    log = TurnLog(order=order, facts=FACTS, outbox=outbox)
    for name in ("one", "two"):
        log.tool(
            FunctionCall(call_id=name, name=name, arguments=said),
            FunctionCallOutput(call_id=name, name=name, output=said, is_error=False),
        )
    log.message(a_message("and on"), caller="caller", language=None)
    assert await publisher.flush(within_s=10)
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 5, task)
    await publisher.aclose(flush_s=0)
    await spool.aclose()
    found = await items(database, row.id)
    assert [item.seq for item in found] == [1, 2, 3, 4, 5]
    assert [item.text for item in found if item.kind == "function_call_output"] == [stored, stored]
    size = len(said.encode("utf-8", "replace"))
    assert {item.cut_from_bytes for item in found[1:4:2]} == {size if size > MAX_TEXT_BYTES else None}
    assert found[4].text == "and on"
    assert await reasons(redis) == []
    for path in tmp_path.iterdir():
        file = SpoolFile(path)
        file.read()
        assert sorted(file.waiting) == [1, 2, 3, 4, 5]


def raw(turn: TurnFinished, **changes: Any) -> dict[str, str]:
    """An entry of a program that cleans nothing."""
    envelope = wrap(turn, session_id=turn.session_id, source="tests", time=T0).model_dump(mode="json")
    envelope["data"] |= changes
    return {ENVELOPE_FIELD: json.dumps(envelope)}


@pytest.mark.parametrize(
    "unfit",
    [HALF, "a\x00b", "x" * 12_000, f"{HALF}\x00" * 6_000],
    ids=["half a letter", "a NUL", "long", "long and no text"],
)
async def test_whatever_another_program_writes_is_stored_and_holds_up_nothing(
    database: Database, database_url: str, redis: Redis, redis_url: str, unfit: str
) -> None:
    row = await put_session(database)
    fields = ["text", "item_id", "participant_identity", "job_id", "language", "extra"]
    await say(redis, a_turn(row.id, 1))
    for seq, field in enumerate(fields, start=2):
        value = {"k": [{unfit: unfit}]} if field == "extra" else unfit
        for _ in range(2):  # what comes again is written once
            await redis.xadd(TURNS_STREAM, dict[Any, Any](raw(a_turn(row.id, seq), **{field: value})))
    await redis.xadd(TURNS_STREAM, {ENVELOPE_FIELD: b"\xff\xfe" + b"{}"})
    await say(redis, a_turn(row.id, 8))
    async with consuming(database_url, redis_url) as task:
        await until_acknowledged(redis, 15, task)
    assert [item.seq for item in await items(database, row.id)] == list(range(1, 9))
    assert await reasons(redis) == ["malformed"]


@pytest.mark.parametrize(
    "unfit", [HALF, "a\x00b", "x" * 530_000], ids=["half a letter", "a NUL", "very long"]
)
async def test_whatever_an_error_says_is_reported(
    database: Database, redis: Redis, relay: Relay, clock: FakeClock, unfit: str
) -> None:
    made = await put_session(database, status=SessionStatus.DISPATCHED, attempt={"number": 1})
    publisher = Publisher(RedisBackend(redis))
    publisher.start()
    order = DispatchOrder(session_id=SessionId(made.id), attempt=1)
    reporter = Reporter(order=order, facts=FACTS, outbox=publisher)
    reporter.error(AgentError(type=unfit, message=f"it said {unfit}", descriptor=unfit))
    assert await publisher.flush(within_s=10)
    await publisher.aclose(flush_s=0)
    written = a_report(made, Step.CLOSED, job_id="AJ_1").model_dump(mode="json")
    written["data"]["reason"] = unfit
    await redis.xadd(REPORTS_STREAM, {ENVELOPE_FIELD: json.dumps(written)})
    await publish(redis, REPORTS_STREAM, [a_report(made, Step.READY)])
    async with consuming_reports(database, redis, relay, clock):
        await handled(redis, 3)
    [attempt] = await get_attempts(database, made.id)
    assert attempt.error is not None
    assert attempt.error["message"].startswith("it said ")
    assert len(attempt.error["message"]) < 3_000
    assert attempt.close_reason
    assert attempt.ready_at is not None
    assert await redis.xlen(DEAD_LETTERS_STREAM) == 0


async def test_an_event_that_can_not_be_put_into_words_holds_up_no_other(
    database: Database, redis: Redis, relay: Relay
) -> None:
    broken, fine = await put_session(database), await put_session(database)
    for row in (broken, fine):
        async with database.write() as db:
            await record(db, row, AgentReady(attempt=1), now=utc_now())
    async with database.write() as db:
        event = (await db.scalars(select(EventRow).where(col(EventRow.session_id) == broken.id))).first()
        assert event is not None
        event.severity = "deafening"

    async def published() -> bool:
        unsent = select(EventRow).where(col(EventRow.published_at).is_(None))
        async with database.read() as db:
            return not (await db.scalars(unsent)).all()

    async with in_background(relay.run()) as task:
        relay.publish_soon(broken.id)
        relay.publish_soon(fine.id)
        await until(published, what="every event is handled")
        assert not task.done()


@pytest.mark.parametrize(("written", "read"), [("a\x00b", "ab"), (HALF, "\ufffd"), ("🙂", "🙂")])
async def test_the_database_takes_no_text_that_another_would_refuse(
    database: Database, written: str, read: str
) -> None:
    row = await put_session(database)
    async with database.write() as db:
        session = await db.get_one(SessionRow, row.id)
        session.end_reason = written
        session.evidence = {written: [written, float("nan")]}
    query = select(SessionRow).where(col(SessionRow.end_reason) == written)
    async with database.read() as db:
        found = (await db.scalars(query)).one()
    assert (found.end_reason, found.evidence) == (read, {read: [read, None]})


@pytest.mark.parametrize("unfit", [r"\ud83d", r"\u0000", r"\ud83d\ude00", "x" * 100_000], ids=ascii)
async def test_no_text_of_a_request_is_an_error_of_ours(client: httpx.AsyncClient, unfit: str) -> None:
    session_id = (await start(client))["session_id"]
    fields = {
        "/v1/sessions": "instructions participant_name participant_identity room_name agent_name",
        "/v1/token": "room_name participant_identity participant_metadata participant_name",
        "/v1/erasures": "participant_identity",
        "/v1/webhook-endpoints": "url description",
        "/v1/keys": "name",
    }
    bodies = [
        *((path, f'"{name}": "{unfit}"') for path, names in fields.items() for name in names.split()),
        ("/v1/sessions", f'"metadata": {{"a": ["{unfit}"]}}'),
        ("/v1/sessions", f'"metadata": {{"{unfit}": 1}}'),
        ("/v1/sessions", f'"{unfit}": 1'),
    ]
    paths = [
        "/v1/sessions/{}",
        "/v1/transcripts/search?q={}",
        "/v1/transcripts/search?q=a&agent_name={}",
        "/v1/transcripts/search?q=a&language={}",
        "/v1/sessions?agent_name={}",
        "/v1/sessions?cursor={}",
        f"/v1/sessions/{session_id}/transcript?format={{}}",
        f"/v1/sessions/{session_id}/events?after={{}}",
    ]
    answers = [await client.post(path, content=f"{{{body}}}", headers=_JSON) for path, body in bodies]
    for escaped in ("%00", "a%00b", "%ED%A0%BD", "x" * 10_000):
        answers += [await client.get(path.format(escaped)) for path in paths]
    wrong = [(answer.request.url, answer.status_code) for answer in answers if answer.status_code >= 500]
    assert wrong == []


async def test_an_identity_that_was_cleaned_is_erased_wherever_it_is(
    client: httpx.AsyncClient, database: Database, redis: Redis
) -> None:
    row = await put_session(database)
    await redis.xadd(TURNS_STREAM, dict[Any, Any](raw(a_turn(row.id, 1), participant_identity="ca\x00ller")))
    erased = await client.post("/v1/erasures", json={"participant_identity": "caller"})
    assert erased.json()["stream_entries"] == 1
