"""The commands against a real API: what they print, what they ask for, and how they end."""

import asyncio
import json
import os
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

import cli.client.client
from cli.client.client import open_client
from cli.main import app
from cli.render.watch_all import LINGERS, Board
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.keys import worker_key
from shared.contracts.sessions import SessionStatus
from shared.contracts.workers import WorkerFault, WorkerHeartbeat, WorkerOrder
from shared.core.workers.registry import remove_worker, write_heartbeat
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from tests.integration.api_client import beat_for_ever
from tests.integration.background import in_background
from tests.integration.cli.conftest import Run
from tests.integration.rows import a_turn, get_session, put_session, store_turns
from tests.support.sessions import until
from tests.unit.making import T0, make_heartbeat


def json_of(done: Result) -> Any:
    """The JSON on standard output; the API, in the same process, may have logged there."""
    return json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{\n") :])[0]


async def end_it(session_id: str) -> None:
    async with open_client(os.environ["ROLLCALL_URL"]) as client:
        await client.end_session(session_id)


async def test_a_session_is_started_shown_and_ended(rollcall: Run, database: Database) -> None:
    said = [
        "-m",
        "customer=42",
        "-m",
        "plan=gold",
        "--agent-name",
        "front desk",
        "--model",
        "llm=openai/gpt-5",
    ]
    started = await rollcall("start", *said, "--json")
    assert started.exit_code == 0, started.output
    answer = json_of(started)
    row = await get_session(database, answer["session_id"])
    assert row.client_metadata == {"customer": "42", "plan": "gold"}
    assert (row.agent_name, row.models["llm"]) == ("front desk", "openai/gpt-5")
    assert answer["participant_token"].count(".") == 2

    shown = await rollcall("session", row.id)
    for part in (row.id, "requested", row.room_name, "front desk", "llm openai/gpt-5", "customer: 42", "UTC"):
        assert part in shown.stdout
    ended = await rollcall("end", row.id)
    assert "cancelled: ended by request" in ended.stdout
    assert (await rollcall("end", row.id)).exit_code == 0
    assert (await get_session(database, row.id)).status == SessionStatus.CANCELLED


async def test_what_one_copies_is_never_cut(rollcall: Run) -> None:
    started = await rollcall("start", "-m", '{"deep": {"er": 1}}')
    lines = dict(line.split(maxsplit=1) for line in started.stdout.splitlines() if line)
    assert len(lines["session"]) == 36
    assert lines["token"].count(".") == 2
    assert len(lines["token"]) > 80
    listed = await rollcall("sessions")
    assert lines["session"] in listed.stdout
    assert all(len(line.rstrip()) <= 80 for line in listed.stdout.splitlines())
    assert "\x1b" not in started.stdout + listed.stdout


@pytest.mark.parametrize("wrong", ["customer", "=42", "{no json"])
async def test_metadata_that_is_none_is_refused_before_anything_is_asked(rollcall: Run, wrong: str) -> None:
    refused = await rollcall("start", "-m", wrong)
    assert refused.exit_code == 2
    assert "--metadata" in refused.stderr


async def test_without_an_agent_in_time_the_exit_code_says_so(rollcall: Run) -> None:
    waited = await rollcall("start", "--wait", "1")
    assert waited.exit_code == 1
    assert "session " in waited.stdout
    assert "no agent after 1 s" in waited.stderr


async def test_all_pages_of_the_sessions_are_read(
    rollcall: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.client.client, "_PAGE", 2)
    states = [SessionStatus.ACTIVE, SessionStatus.FAILED, SessionStatus.REQUESTED, SessionStatus.ENDED]
    rows = [
        await put_session(database, status=status, cause="worker_died" if status == "failed" else None)
        for status in (*states, SessionStatus.ACTIVE)
    ]
    newest_first = [row.id for row in reversed(rows)]

    async def listed(*words: str) -> list[str]:
        done = await rollcall("sessions", *words, "--json")
        return [one["session_id"] for one in json_of(done)["sessions"]]

    assert await listed() == newest_first
    assert await listed("--all") == newest_first
    assert await listed("--limit", "3") == newest_first[:3]
    assert await listed("--status", "failed") == [rows[1].id]
    assert await listed("--live") == [rows[4].id, rows[2].id, rows[0].id]
    table = (await rollcall("sessions")).stdout
    assert "worker_died" in table
    assert "there may be more" in (await rollcall("sessions", "--limit", "2")).stdout
    assert (await rollcall("sessions", "--live", "--status", "failed")).exit_code == 2


async def test_a_session_without_an_agent_says_why_and_what_to_do(rollcall: Run, database: Database) -> None:
    row = await put_session(
        database,
        status=SessionStatus.FAILED,
        cause=Cause.AGENT_NAME_MISMATCH,
        evidence={"names_seen": ["\x1b[2Jagent"], "nearest": "agent"},
    )
    shown = (await rollcall("session", row.id)).stdout
    assert "agent_name_mismatch" in shown
    assert "nearest: agent" in shown
    assert ADVICE[Cause.AGENT_NAME_MISMATCH] in shown
    assert "\x1b" not in shown


async def test_the_workers_are_shown_with_what_is_wrong_with_them(rollcall: Run, redis: Redis) -> None:
    assert "no agent worker is running" in (await rollcall("workers")).stdout
    fault = WorkerFault(cause=Cause.INFERENCE_QUOTA, detail="answers 429", since=T0)
    await beat_for_ever(redis, make_heartbeat("w-free", active_jobs=3))
    await beat_for_ever(redis, make_heartbeat("w-full", active_jobs=10, agent_name="front desk"))
    await beat_for_ever(redis, make_heartbeat("w-ill", faults=[fault]))
    await beat_for_ever(redis, make_heartbeat("w-new", registered=False))
    shown = (await rollcall("workers")).stdout

    def row_of(worker: str) -> list[str]:
        return next(line for line in shown.splitlines() if f" {worker} " in line).split()

    assert row_of("w-free")[:5] == ["agent", "w-free", "host-1:1", "3/10", "free"]
    assert row_of("w-full")[:6] == ["front", "desk", "w-full", "host-1:1", "10/10", "full"]
    assert row_of("w-ill")[4] == "faulty"
    assert row_of("w-new")[4:6] == ["not", "registered"]
    assert "w-ill: inference_quota: answers 429" in shown
    told = json_of(await rollcall("workers", "--json"))
    assert {one["worker_id"] for one in told["workers"]} == {"w-free", "w-full", "w-ill", "w-new"}
    await redis.delete(worker_key("w-free"))
    shown = (await rollcall("workers")).stdout
    assert row_of("w-free")[4:7] == ["lost,", "last", "heard"]
    told = json_of(await rollcall("workers", "--json"))
    assert [one["worker_id"] for one in told["lost"]] == ["w-free"]


async def beat_and_obey(redis: Redis, worker: WorkerHeartbeat) -> None:
    """A worker that obeys, and ends when it is told to drain."""
    while worker.draining is False:
        order = await write_heartbeat(redis, worker)
        worker = worker.model_copy(
            update={
                "cordoned": order is WorkerOrder.CORDON
                or (worker.cordoned and order is not WorkerOrder.UNCORDON),
                "draining": order is WorkerOrder.DRAIN,
            }
        )
        await asyncio.sleep(0.05)
    await remove_worker(redis, worker.worker_id)


async def test_a_worker_is_cordoned_uncordoned_and_drained(rollcall: Run, redis: Redis) -> None:
    async with in_background(beat_and_obey(redis, make_heartbeat("w-1", active_jobs=3))):

        async def lives() -> bool:
            return "w-1" in (await rollcall("workers")).stdout

        await until(lives, what="the worker is in the registry")
        cordoned = await rollcall("workers", "cordon", "w-1")
        assert (cordoned.exit_code, "w-1 is cordoned" in cordoned.stdout) == (0, True)
        assert "3 of its calls go on" in cordoned.stdout
        assert "cordoned" in (await rollcall("workers")).stdout
        assert json_of(await rollcall("workers", "uncordon", "w-1", "--json"))["obeyed"] is True
        drained = await rollcall("workers", "drain", "w-1")
        assert (drained.exit_code, "w-1 has ended" in drained.stdout) == (0, True)


async def test_an_order_that_nobody_obeys_is_a_failure(
    rollcall: Run, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.render.fleet.OBEYS_WITHIN_S", 0.5)
    await beat_for_ever(redis, make_heartbeat("w-deaf"))
    done = await rollcall("workers", "cordon", "w-deaf")
    assert (done.exit_code, "has not told yet that it obeys" in done.stdout) == (1, True)
    misplaced = await rollcall("workers", "--json", "cordon", "w-deaf")
    assert (misplaced.exit_code, "after cordon" in misplaced.stderr) == (2, True)
    unknown = await rollcall("workers", "drain", "w-2")
    assert (unknown.exit_code, "'w-2'" in unknown.stderr) == (1, True)


async def test_a_session_is_watched_to_its_end(rollcall: Run, database: Database) -> None:
    row = await put_session(database)
    await store_turns(database, [a_turn(row.id, 1, text="Hello \x1b[2Jthere")])

    async with in_background(end_it(row.id)):
        watched = await asyncio.wait_for(rollcall("watch", row.id), 60)
    assert watched.exit_code == 0, watched.output
    assert "session stored: room room-1, agent agent" in watched.stdout
    assert "session cancelled: ended by request" in watched.stdout
    assert watched.stdout.count("caller: Hello") == 1
    assert "\x1b" not in watched.stdout

    lines = [json.loads(line) for line in (await rollcall("watch", row.id, "--json")).stdout.splitlines()]
    kinds = [line["event"]["type"] for line in lines if line["kind"] == "event"]
    assert kinds[0] == "session.requested.v1"
    assert kinds[-1] == "session.cancelled.v1"


async def test_a_transcript_and_a_search_are_there_for_machines(rollcall: Run, database: Database) -> None:
    row = await put_session(database)
    await store_turns(database, [a_turn(row.id, n, text=f"order {n}") for n in (1, 2)])
    whole = json_of(await rollcall("transcript", row.id, "--json"))
    assert [item["text"] for item in whole["items"]] == ["order 1", "order 2"]
    found = json_of(await rollcall("search", "order", "--json"))
    assert len(found["results"]) == 2
    shown = (await rollcall("search", "order")).stdout
    assert f"{T0:%Y-%m-%d %H:%M:%S} UTC user:" in shown


@pytest.mark.parametrize("command", ["session", "end", "watch", "transcript"])
async def test_a_session_that_is_not_there_is_told_on_standard_error(rollcall: Run, command: str) -> None:
    missing = await rollcall(command, "no/such")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "there is no session no/such" in missing.stderr or "404" in missing.stderr


@pytest.mark.parametrize(
    "words",
    [["sessions"], ["workers", "--json"], ["workers", "cordon", "w"], ["start"], ["watch"], ["canary"]],
)
def test_an_api_that_is_away_is_told_with_what_to_do(words: list[str]) -> None:
    away = CliRunner().invoke(app, [*words, "--api", "http://127.0.0.1:9"])
    assert (away.exit_code, away.stdout) == (1, "")
    assert "no answer from the API at http://127.0.0.1:9" in away.stderr
    assert "rollcall doctor" in away.stderr


async def test_the_shell_is_offered_sessions_and_what_options_take(
    rollcall: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await put_session(database)

    async def offered(*words: str) -> str:
        environment = {
            "_ROLLCALL_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["rollcall", *words]),
            "COMP_CWORD": str(len(words)),
        }
        done: Any = await asyncio.to_thread(
            lambda: CliRunner().invoke(app, [], prog_name="rollcall", env=environment)
        )
        return str(done.stdout)

    assert row.id in await offered("session", row.id[:8])
    assert row.id in await offered("watch", row.id[:8])
    assert "cancelled" in await offered("sessions", "--status", "c")
    assert "vtt" in await offered("transcript", row.id, "--format", "v")
    assert "doctor" in await offered("d")
    monkeypatch.setenv("ROLLCALL_URL", "http://127.0.0.1:9")
    assert (await offered("session", "01")).strip() == ""


async def test_all_live_sessions_are_watched_and_their_end_is_seen(rollcall: Run, database: Database) -> None:
    first = await put_session(database, status=SessionStatus.ACTIVE)
    over = await put_session(database, status=SessionStatus.ENDED)
    now = utc_now()
    async with open_client(os.environ["ROLLCALL_URL"]) as client:
        board = Board(client)
        await board.look(now)
        assert [one.session_id for one in board.changes] == [first.id]
        assert over.id not in board.sessions
        await board.look(now)
        assert board.changes == []
        second = await put_session(database)
        await end_it(second.id)
        await end_it(first.id)
        await board.look(now)
        assert [(one.session_id, one.status) for one in board.changes] == [(first.id, "ended")]
        await board.look(now + LINGERS)
        assert board.table(now, rows=5).row_count == 1
        await board.look(now + LINGERS + LINGERS)
        assert board.sessions == {}
