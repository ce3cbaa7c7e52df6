"""Which way to Rollcall is taken, and what a worker and a job prove themselves with on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from rollcall_agent.report import Reporter
from rollcall_agent.settings import LibrarySettings
from rollcall_agent.spool.spool_file import SpoolFile
from rollcall_agent.ways import ApiTransport, DirectTransport, JobWay, WorkerWay, choose_transport
from rollcall_agent.worker.heartbeat import Standing
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.agent_calls import RefusalCode
from shared.contracts.events import Step
from shared.core.workers.credentials import KeyPair
from tests.stack_fixtures.waiting import eventually
from tests.support.agent_api import AgentApi, agent_api
from tests.unit.agent.agent_fakes import FACTS, an_order

PAIR = KeyPair("key", SecretStr("a-secret-of-the-tests-with-32-bytes"))


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with agent_api() as served:
        yield served


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LibrarySettings:
    monkeypatch.chdir(tmp_path)
    for name in ("ROLLCALL_URL", "ROLLCALL_API_KEY", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return LibrarySettings(
        livekit_url="ws://127.0.0.1:7880",
        livekit_api_key=PAIR.key,
        livekit_api_secret=PAIR.secret,
        agent_spool_dir=str(tmp_path / "spool"),
    )


def _worker(transport: ApiTransport, settings: LibrarySettings) -> WorkerWay:
    return transport.open_worker(
        settings,
        standing=lambda: Standing(active_jobs=0, registered=True, draining=False),
        obey=lambda order: None,
        spool_failures=SharedCounter(),
    )


def _job(transport: ApiTransport, settings: LibrarySettings, credential: str | None) -> JobWay:
    order = an_order(credential=credential)
    return transport.open_job(settings, order, FACTS, spool_failures=SharedCounter())


def test_the_api_wins_and_the_log_says_which_way_it_is_without_secrets(settings: LibrarySettings) -> None:
    assert choose_transport(settings) is None
    with_redis = settings.model_copy(update={"redis_url": "redis://:hunter2@127.0.0.1/0"})
    url = "https://me:hunter2@rollcall.example/base"
    with_both = with_redis.model_copy(update={"rollcall_url": url, "rollcall_api_key": SecretStr("hunter2")})
    with capture_logs() as logs:
        assert choose_transport(with_redis) == DirectTransport()
        chosen = choose_transport(with_both)
    assert chosen == ApiTransport(url, SecretStr("hunter2"))
    assert [line["way"] for line in logs] == ["redis", "api"]
    assert logs[1]["url"] == "https://rollcall.example/base"
    assert "hunter2" not in f"{logs} {chosen!r}"


def test_an_address_that_is_none_is_refused(settings: LibrarySettings) -> None:
    with pytest.raises(ValidationError):
        LibrarySettings(**{**settings.model_dump(), "rollcall_url": "rollcall.example"})


async def test_a_worker_without_a_key_signs_with_its_livekit_key_pair(
    api: AgentApi, settings: LibrarySettings
) -> None:
    worker = _worker(ApiTransport(api.url), settings)
    await eventually(lambda: len(api.handshakes) == 1)
    await worker.aclose()
    scheme, _, token = api.handshakes[0]["Authorization"].partition(" ")
    assert scheme == "Bearer"
    PAIR.check_worker(token)


async def test_a_workers_reports_come_behind_the_credential_of_their_attempt(
    api: AgentApi, settings: LibrarySettings
) -> None:
    worker = _worker(ApiTransport(api.url, SecretStr("a-key")), settings)
    order = an_order(credential="a-credential")
    worker.meet(order)
    Reporter(order=order, facts=FACTS, outbox=worker.outbox).step(Step.REJECTED, reason="full")
    assert await worker.outbox.flush(within_s=30)
    await worker.aclose()
    assert api.handshakes[0]["Authorization"] == "Bearer a-key"
    assert api.called == ["present", "publish"]


async def test_a_job_shows_its_credential_and_keeps_it_beside_its_turns(
    api: AgentApi, settings: LibrarySettings, tmp_path: Path
) -> None:
    job = _job(ApiTransport(api.url, SecretStr("a-key")), settings, "a-credential")
    api.answers = {"take_attempt": True}
    Reporter(order=an_order(), facts=FACTS, outbox=job.outbox).step(Step.ENTRYPOINT_STARTED)
    order = an_order(credential="a-credential")
    assert not await job.fences.is_late(order)
    assert not await job.fences.is_second(order, FACTS.job_id)
    job.start_beat()
    await eventually(lambda: "beat_job" in api.called)
    await job.aclose(flush_s=30)
    shown = api.handshakes[0]
    assert shown["Authorization"] == "Bearer a-credential"
    assert (shown["X-Rollcall-Worker"], shown["X-Rollcall-Job"]) == (FACTS.worker_id, FACTS.job_id)
    assert api.called[-1] == "forget_job"
    [path] = (tmp_path / "spool").iterdir()
    file = SpoolFile(path)
    file.read()
    assert file.credential == "a-credential"


async def test_a_job_whose_attempt_is_over_stays_out_and_begins_without_memory(
    api: AgentApi, settings: LibrarySettings
) -> None:
    job = _job(ApiTransport(api.url), settings, "a-credential")
    for call in ("read_fence", "take_attempt", "read_history", "beat_job"):
        api.refuse(call, RefusalCode.OVER)
    order = an_order(credential="a-credential")
    assert await job.fences.is_late(order)
    assert await job.fences.is_second(order, FACTS.job_id)
    assert await job.read_past_turns() == []
    job.start_beat()
    await eventually(lambda: "beat_job" in api.called)
    Reporter(order=order, facts=FACTS, outbox=job.outbox).step(Step.CLOSED, reason="late")
    await job.aclose(flush_s=30)
    assert "publish" in api.called, "what it tells is taken all the same"
    assert api.called.count("beat_job") == 1


async def test_the_job_of_a_dispatch_without_a_credential_runs_and_tells_nothing(
    api: AgentApi, settings: LibrarySettings
) -> None:
    with capture_logs() as logs:
        job = _job(ApiTransport(api.url), settings, None)
        assert not await job.fences.is_late(an_order())
        Reporter(order=an_order(), facts=FACTS, outbox=job.outbox).step(Step.ENTRYPOINT_STARTED)
        await job.aclose(flush_s=30)
    assert [line["event"] for line in logs].count("credential_missing") == 1
    assert api.handshakes == []
