"""A worker's heartbeats when Rollcall refuses what it is asked, or does not answer at its end."""

import asyncio

import pytest
from structlog.testing import capture_logs

from rollcall_agent.ports import CallRefused
from rollcall_agent.worker import heartbeat
from rollcall_agent.worker.heartbeat import Heart, Standing
from shared.contracts.agent_calls import RefusalCode
from shared.contracts.settings import WorkerSettings
from shared.contracts.workers import WorkerHeartbeat, WorkerOrder
from shared.platform.background import stop_all
from tests.stack_fixtures.waiting import eventually
from tests.unit.rollcall_agent.fake_backend import FakeBackend

REFUSED = CallRefused(RefusalCode.NOT_YOURS, "another's")


class Registry(FakeBackend):
    """Takes heartbeats, and refuses calls about these ids."""

    def __init__(self, *others: str) -> None:
        super().__init__()
        self.beats: list[str] = []
        self.removed: list[str] = []
        self._others = others

    async def beat_worker(self, heartbeat: WorkerHeartbeat) -> WorkerOrder | None:
        self._check(heartbeat.worker_id)
        self.beats.append(heartbeat.worker_id)
        return None

    async def read_order(self, worker_id: str) -> WorkerOrder | None:
        self._check(worker_id)
        return WorkerOrder.CORDON

    async def remove_worker(self, worker_id: str) -> None:
        self._check(worker_id)
        self.removed.append(worker_id)

    def _check(self, worker_id: str) -> None:
        if worker_id in self._others:
            raise REFUSED


def a_heart(backend: FakeBackend, obeyed: list[WorkerOrder]) -> Heart:
    settings = WorkerSettings(
        livekit_url="ws://127.0.0.1:7880", livekit_api_key="key", livekit_api_secret="a-secret-of-the-tests"
    )
    standing = Standing(active_jobs=0, registered=True, draining=False)
    return Heart(
        backend=backend, settings=settings, version="1", standing=lambda: standing, obey=obeyed.append
    )


async def test_a_former_id_that_is_refused_is_left_and_the_worker_goes_on() -> None:
    obeyed: list[WorkerOrder] = []
    registry = Registry("AW_1")
    heart = a_heart(registry, obeyed)
    for worker_id in ("AW_1", "AW_2", "AW_3"):
        heart.registered(worker_id)
    with capture_logs() as logs:
        beating = asyncio.create_task(heart.run())
        await eventually(lambda: obeyed == [WorkerOrder.CORDON])
        await stop_all([beating])
    assert set(registry.beats) == {"AW_3"}
    assert registry.removed == ["AW_2"]
    assert [line["worker_id"] for line in logs if line["event"] == "worker_id_not_left"] == ["AW_1"]


async def test_a_refused_heartbeat_is_told_and_the_next_one_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", 0.0)
    registry = Registry("AW_1")
    heart = a_heart(registry, [])
    heart.registered("AW_1")
    with capture_logs() as logs:
        beating = asyncio.create_task(heart.run())
        await eventually(lambda: "heartbeat_failed" in [line["event"] for line in logs])
        heart.registered("AW_2")
        await eventually(lambda: bool(registry.beats))
        await stop_all([beating])
    assert "heartbeat_restored" in [line["event"] for line in logs]


async def test_a_rollcall_that_does_not_answer_holds_up_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "STOP_S", 0.1)
    heart = a_heart(FakeBackend(frozen=True), [])
    heart.registered("AW_1")
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            await heart.stop()
    assert [line["event"] for line in logs] == ["worker_not_removed"]
