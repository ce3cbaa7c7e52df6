"""Whatever dies, every turn that was spoken is stored, once and in order, and the transcript says so.

Real agents talk, and write down what their SDK says was spoken; at the end that is compared with what the
database has. The worker reaches Redis through a wire that can be cut. FULL=1 keeps everything away for a
minute.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from cli.call.caller import Caller
from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.support.guests import guest
from tests.support.lost_turns import (
    LONG_QUESTION,
    QUESTIONS,
    disk_full,
    has_closed,
    is_over,
    is_unclosed,
    lose_turns,
    no_spool_is_left,
)
from tests.support.restartable_postgres import restartable_postgres
from tests.support.sessions import until
from tests.support.spoken import Reckoning, TranscriptBoard, spoken_in
from tests.support.talks import NAME, Line, Talk
from tests.support.wire import open_wire
from tests.support.workers import OurWorker

pytestmark = pytest.mark.faults

SERVICES = ("api", "dispatcher", "verifier", "transcripts", "inference")
CONSUMERS = ("transcripts", "transcripts-2")
SPOOL_SIZE = "256k"


@pytest.fixture(scope="module")
def away_s(full: bool) -> float:
    """How long a server that is down stays down."""
    return 60.0 if full else 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The worker's folder; its spool is on a small disk of its own, if one can be mounted."""
    made = tmp_path_factory.mktemp("survive")
    for name in ("recordings", "spool"):
        (made / name).mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_SIZE}", "tmpfs", str(made / "spool")]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield made
    if mounted:
        subprocess.run(["umount", "--lazy", made / "spool"], check=True)


@pytest_asyncio.fixture(scope="module")
async def line(folder: Path) -> AsyncIterator[Line]:
    async with AsyncExitStack() as running:
        postgres = await running.enter_async_context(restartable_postgres())
        stack = Stack(
            folder / "stack",
            # A worker that a test kills is replaced by one that has to start first. A worker that is cut off
            # from Redis for a moment must not count as dead.
            env=clean_environment(
                {
                    "DATABASE_URL": postgres.url,
                    "JOIN_BUDGET_S": "300",
                    "DISPATCH_MAX_ATTEMPTS": "10",
                    "AGENT_SILENCE_S": "6",
                    # One talk goes through the loss of several agents.
                    "MAX_REVIVALS": "10",
                }
            ),
            services=SERVICES,
            replicas={"transcripts": 2},
        )
        await running.enter_async_context(stack)
        port = urlsplit(stack.redis_url).port
        assert port is not None
        wire = await running.enter_async_context(open_wire(port))
        made = Line(stack, postgres, wire, folder)
        running.push_async_callback(made.close)
        yield made


@pytest_asyncio.fixture(scope="module")
async def worker(line: Line) -> OurWorker:
    return await line.start_worker()


@asynccontextmanager
async def talking(line: Line) -> AsyncIterator[Talk]:
    """A talk in writing, in which both sides have said something."""
    started = await line.rollcall.start(agent_name=NAME, metadata={"text": True})
    async with guest(started) as room:
        await line.rollcall.until_event(started["session_id"], "agent.ready.v1")
        talk = Talk(line, started, room)
        await talk.said("Hello! How can I help you today?")
        yield talk


@pytest_asyncio.fixture(scope="module")
async def talk(line: Line, worker: OurWorker) -> AsyncIterator[Talk]:
    """One talk that goes on through everything that does not end its agent."""
    async with talking(line) as long_talk:
        await long_talk.exchange(QUESTIONS[0])
        yield long_talk


async def test_nothing_breaks(talk: Talk, transcript_board: TranscriptBoard) -> None:
    await talk.exchange("Look it up")
    await talk.exchange("Hand me over")
    await talk.exchange(QUESTIONS[1])
    await talk.reckon(transcript_board, "nothing breaks; messages, tools, a handover")
    kinds = {item["kind"] for item in (await talk.line.rollcall.transcript(talk.session_id))["items"]}
    assert kinds == {"message", "function_call", "function_call_output", "agent_handoff"}


async def test_redis_is_away(talk: Talk, transcript_board: TranscriptBoard, away_s: float) -> None:
    await talk.line.kill("redis")
    for question in QUESTIONS:
        await talk.exchange(question)
    await asyncio.sleep(away_s)
    await talk.line.start("redis")
    await talk.reckon(transcript_board, f"Redis killed, back with its data after {away_s:g} s")


async def test_redis_comes_back_empty_while_nobody_stores_anything(
    talk: Talk, transcript_board: TranscriptBoard
) -> None:
    line = talk.line
    await line.kill(*CONSUMERS)
    before = await line.in_redis()
    stored = len(await line.rows(talk.session_id))
    await talk.exchange(QUESTIONS[0])

    async def taken() -> bool:
        return await line.in_redis() >= before + 2

    await until(taken, what="Redis has the turns")
    await line.kill("redis")
    for left in (line.stack.state / "redis").iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    await line.start("redis")
    assert await line.in_redis() == 0
    assert len(await line.rows(talk.session_id)) == stored
    await line.start(*CONSUMERS)
    await talk.reckon(transcript_board, "Redis emptied while no consumer ran")


async def test_a_consumer_is_killed_between_insert_and_acknowledgement(
    talk: Talk, transcript_board: TranscriptBoard
) -> None:
    line = talk.line
    before = len(await line.rows(talk.session_id))
    locker = await line.postgres.connect()
    held = locker.transaction()
    await held.start()
    await locker.execute("LOCK TABLE transcript_item IN SHARE MODE")
    await talk.exchange(QUESTIONS[1])

    async def in_hand() -> bool:
        return await line.pending() > 0

    await until(in_hand, what="a consumer has the turns in hand")
    line.stack.process("redis").freeze()
    await held.rollback()
    await locker.close()

    async def committed() -> bool:
        return len(await line.rows(talk.session_id)) > before

    await until(committed, what="the turns are committed")
    await line.kill(*CONSUMERS)
    line.stack.process("redis").thaw()
    await line.start(*CONSUMERS)
    await talk.exchange(QUESTIONS[2])
    await talk.reckon(transcript_board, "consumers killed between insert and acknowledgement")


async def test_two_consumers_race_and_are_killed_in_turn(
    talk: Talk, transcript_board: TranscriptBoard
) -> None:
    for name in CONSUMERS:
        await talk.exchange(QUESTIONS[0])
        await talk.line.kill(name)
        await talk.exchange(QUESTIONS[1])
        await talk.line.start(name)
    await talk.reckon(transcript_board, "two consumers race, each is killed")


async def test_the_database_is_away(talk: Talk, transcript_board: TranscriptBoard, away_s: float) -> None:
    await talk.line.postgres.kill()
    for question in QUESTIONS:
        await talk.exchange(question)
    await asyncio.sleep(away_s)
    await talk.line.postgres.start()
    await talk.reckon(transcript_board, f"PostgreSQL killed, back after {away_s:g} s")


async def test_the_disk_of_the_spool_is_full(talk: Talk, transcript_board: TranscriptBoard) -> None:
    line = talk.line
    async with disk_full(line, talk.jobs[-1].pid):
        await talk.exchange(LONG_QUESTION)

        async def told() -> bool:
            return await line.metric("agent_spool_failures_total") >= 1

        await until(told, what="the metric counts the turns that are not on disk")
    await talk.exchange(QUESTIONS[1])
    log = line.log()
    assert "spool_failed" in log
    assert log.count('"spool_failed"') == 1
    assert "AGENT_SPOOL_DIR" in log
    await talk.reckon(transcript_board, "the spool's disk is full")


async def test_redis_does_not_answer_and_does_not_refuse(
    talk: Talk, transcript_board: TranscriptBoard, away_s: float, full: bool
) -> None:
    attempt = await talk.attempt()
    talk.line.wire.cut()
    try:
        await talk.exchange(QUESTIONS[2])
        if full:
            # An agent that is silent for so long is replaced; now two agents have unsent turns.
            await talk.until_another_agent(after=attempt)
            await talk.exchange(QUESTIONS[0])
        await asyncio.sleep(away_s)
    finally:
        await talk.line.restore_wire()
    if full:
        await talk.exchange(QUESTIONS[1])
    await talk.reckon(transcript_board, f"the worker cut off from Redis for {away_s:g} s, without a word")


async def test_the_job_is_killed_before_redis_has_its_turns(
    talk: Talk, transcript_board: TranscriptBoard
) -> None:
    line, attempt = talk.line, await talk.attempt()
    stored = len(await talk.until_stored())
    await line.until_beating(talk.session_id, attempt)
    line.wire.cut()
    try:
        await talk.exchange(QUESTIONS[0])
        os.kill(talk.jobs[-1].pid, signal.SIGKILL)
        assert len(await line.rows(talk.session_id)) == stored, "killed too late"
    finally:
        await line.restore_wire()
    await talk.until_another_agent(after=attempt)
    await talk.exchange(QUESTIONS[1])
    await talk.reckon(transcript_board, "SIGKILL of the job, with turns that Redis has not taken")


async def test_the_worker_is_killed_and_the_next_one_of_the_host_sends_what_it_left(
    talk: Talk, worker: OurWorker, transcript_board: TranscriptBoard
) -> None:
    line, attempt = talk.line, await talk.attempt()
    stored = len(await talk.until_stored())
    line.wire.cut()
    try:
        await talk.exchange(QUESTIONS[2])
        os.killpg(worker.process.pid, signal.SIGKILL)
        await worker.process.wait()
        assert len(await line.rows(talk.session_id)) == stored, "killed too late"
    finally:
        await line.restore_wire()
    await line.start_worker()
    await talk.until_another_agent(after=attempt)
    await talk.exchange(QUESTIONS[0])
    await talk.reckon(transcript_board, "SIGKILL of the whole worker; another one starts")


async def test_the_talk_that_went_through_all_that_is_complete(
    talk: Talk, transcript_board: TranscriptBoard
) -> None:
    await talk.line.rollcall.end(talk.session_id)
    transcript = await talk.reckon_at_the_end(transcript_board, "all of the above, at the end of the call")
    assert transcript["state"] == "closed"
    greetings = [item for item in transcript["items"] if item["text"].startswith("Hello! How can I")]
    assert len(greetings) == 1
    await no_spool_is_left(talk.line)


async def test_redis_is_away_when_the_call_ends(
    line: Line, talk: Talk, transcript_board: TranscriptBoard
) -> None:
    async with talking(line) as short_talk:
        await short_talk.exchange(QUESTIONS[0])
        line.wire.cut()
        await short_talk.exchange(QUESTIONS[1])
        # By request: if only the caller left, an agent of which nothing is heard would be replaced first.
        await line.rollcall.end(short_talk.session_id)
    try:
        await until(is_over(short_talk), what="the job's process is gone")
    finally:
        await line.restore_wire()
    await short_talk.reckon_at_the_end(transcript_board, "Redis cut off when the call ends")
    await no_spool_is_left(line)


async def test_the_caller_leaves_while_redis_is_cut_off(
    line: Line, talk: Talk, transcript_board: TranscriptBoard, full: bool
) -> None:
    async with talking(line) as short_talk:
        await short_talk.exchange(QUESTIONS[0])
        line.wire.cut()
        await short_talk.exchange(QUESTIONS[1])
    try:
        await until(has_closed(short_talk), what="the agent has had its last word")
        if full:
            # Whatever else is tried for this session, its room is closed some time after its caller.
            await until(is_unclosed(short_talk), what="nobody knows how many turns there were", timeout_s=120)
            transcript = await line.rollcall.transcript(short_talk.session_id)
            assert (transcript["complete"], transcript["missing"]) == (None, [])
    finally:
        await line.restore_wire()
    await short_talk.reckon_at_the_end(transcript_board, "the caller leaves while Redis is cut off")
    await no_spool_is_left(line)


async def test_turns_that_neither_the_disk_nor_redis_took_are_named(
    line: Line, talk: Talk, transcript_board: TranscriptBoard, full: bool
) -> None:
    for is_killed in (True, False) if full else (True,):
        async with talking(line) as short_talk:
            await short_talk.exchange(QUESTIONS[0])
            await short_talk.until_stored()
            missing = await lose_turns(short_talk, is_killed=is_killed)
            if is_killed:
                await short_talk.until_another_agent(after=1)
                await short_talk.exchange(QUESTIONS[1])
                await line.rollcall.end(short_talk.session_id)
        await line.rollcall.until_status(short_talk.session_id, "ended")

        async def counted(talk: Talk = short_talk) -> bool:
            return bool((await line.rollcall.transcript(talk.session_id))["state"] == "closed")

        await until(counted, what="it is known how many turns there were")
        transcript = await line.rollcall.transcript(short_talk.session_id)
        assert transcript["missing"] == missing
        assert transcript["missing_since"] is not None
        death = "SIGKILL of the job" if is_killed else "the end of the call"
        row = Reckoning.of(
            f"disk full and Redis cut off until {death}",
            spoken_in(short_talk.jobs),
            await line.rows(short_talk.session_id),
            complete=transcript["complete"],
            expected=False,
            missing=len(missing),
        )
        transcript_board.add(row)
    await no_spool_is_left(line)


async def test_a_spoken_call_is_ended_while_the_agent_speaks(
    line: Line, talk: Talk, transcript_board: TranscriptBoard
) -> None:
    started = await line.rollcall.start(agent_name=NAME)
    call = Talk(line, started, None)
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await caller.wait_until_agent_quiet(60)
        await caller.say(QUESTIONS[0])

        async def speaks() -> bool:
            return caller.agent_state == "speaking"

        await until(speaks, what="the agent answers")
        heard = caller.heard_seconds

        async def heard_some() -> bool:
            return caller.heard_seconds > heard + 0.7

        await until(heard_some, what="some of the answer is heard")
        await line.rollcall.end(started["session_id"])
    transcript = await call.reckon_at_the_end(transcript_board, "a spoken call, ended while the agent speaks")
    last = transcript["items"][-1]
    assert (last["role"], last["interrupted"]) == ("assistant", True)
    assert last["text"]
