"""The spool of a job that reaches Rollcall over the API: a later worker needs its credential."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from rollcall_agent.ports import CallRefused
from rollcall_agent.spool import spool_file
from rollcall_agent.spool.spool import read_credential
from rollcall_agent.spool.spool_file import SpoolFile
from shared.contracts.agent_calls import RefusalCode
from shared.contracts.keys import REPORTS_STREAM, TURNS_STREAM
from shared.core.transcripts.erasure import MARKER_TTL, mark_erased
from tests.integration.agent.spooling import Host, Job
from tests.unit.agent.agent_fakes import SESSION
from tests.unit.rollcall_agent.fake_backend import FakeBackend

CREDENTIAL = "a.signed.token"


def read(folder: Path) -> SpoolFile:
    [path] = folder.glob("*.jsonl")
    file = SpoolFile(path)
    file.read()
    return file


async def test_the_credential_is_beside_the_turns_for_its_owner_alone(folder: Path) -> None:
    job = Job(folder, credential=CREDENTIAL)
    job.say("one", "two")
    await job.close()
    file = read(folder)
    assert (file.credential, sorted(file.waiting), file.turns) == (CREDENTIAL, [1, 2], 2)
    assert oct(file.path.stat().st_mode & 0o777) == "0o600"


async def test_over_redis_no_credential_is_written(folder: Path) -> None:
    job = Job(folder)
    job.say("one")
    await job.close()
    assert read(folder).credential is None
    assert b"credential" not in read(folder).path.read_bytes()


async def test_a_worker_of_an_older_version_reads_the_turns_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "read_credential", lambda line: None)
    job = Job(folder, credential=CREDENTIAL)
    job.say("one", "two")
    await job.die()
    file = read(folder)
    assert (sorted(file.waiting), file.turns, file.session_id) == ([1, 2], 2, SESSION)


async def test_a_later_worker_sends_the_turns_with_the_credential(folder: Path, redis: Redis) -> None:
    job = Job(folder, credential=CREDENTIAL)
    job.say("one")
    await job.die()
    backend = FakeBackend()
    host = Host(folder, redis, backend=backend)
    await host.after()
    assert backend.credentials == {(SESSION, 1): CREDENTIAL}
    assert [stream for stream, _ in backend.published] == [TURNS_STREAM, REPORTS_STREAM]


async def test_an_erased_session_loses_its_words_and_keeps_its_credential(host: Host) -> None:
    job = Job(host.folder, credential=CREDENTIAL)
    job.say("my secret")
    await mark_erased(host.redis, [SESSION])
    await host.after()
    file = read(host.folder)
    assert b"secret" not in file.path.read_bytes()
    assert file.credential == CREDENTIAL
    await job.close()


async def test_turns_that_rollcall_refuses_stay_on_disk_for_a_month_and_hold_up_no_others(
    folder: Path, redis: Redis
) -> None:
    await _dead(folder, "one")
    await _dead(folder, "two")
    backend = FakeBackend(failing=CallRefused(RefusalCode.NOT_YOURS, "no credential"))
    host = Host(folder, redis, backend=backend)
    with capture_logs() as logs:
        for _ in range(10):
            assert await host.after(60.0)
    assert [line["event"] for line in logs] == ["turns_refused"] * 2, "once for each file"
    assert len(host.files()) == 2
    host.later = MARKER_TTL + timedelta(minutes=1)
    await host.after()
    assert host.files() == []


async def test_a_rollcall_that_cannot_be_reached_is_no_refusal(folder: Path, redis: Redis) -> None:
    await _dead(folder, "one")
    host = Host(folder, redis, backend=FakeBackend(failing=RedisConnectionError("refused")))
    assert not await host.after()


async def test_a_rollcall_that_does_not_answer_holds_up_the_end_of_a_worker_for_a_bounded_time(
    folder: Path, redis: Redis
) -> None:
    await _dead(folder, "one")
    host = Host(folder, redis, backend=FakeBackend(frozen=True))
    async with asyncio.timeout(20):
        await host.resender.finish(within_s=0.2)
    assert len(host.files()) == 1, "the next worker sends it"


async def _dead(folder: Path, text: str) -> None:
    job = Job(folder)
    job.say(text)
    await job.die()


def test_a_line_that_is_no_credential_is_not_taken_for_one() -> None:
    for line in (b'{"id": "1", "credential": "x"}', b'{"credential": 1}\n', b'{"credential": "cut'):
        assert read_credential(line) is None
