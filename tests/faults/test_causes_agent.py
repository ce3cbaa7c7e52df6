"""Our own worker reports its faults, and its silence is noticed: the cause is exact."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.verdicts import Verdict, judge, until_over
from tests.support.workers import our_worker

pytestmark = pytest.mark.faults

NO_SUCH_LLM = "openai/no-such-model"
NO_SUCH_TTS = "nobody/no-such-voice"


@dataclass(frozen=True)
class Scenario:
    """A fault and its cause; `or_else` is a coarser cause that is also true."""

    name: str
    cause: str
    wish: dict[str, Any]
    note: str = ""
    or_else: tuple[str, ...] = ()


def _fault(name: str, cause: str, note: str = "", *or_else: str) -> Scenario:
    return Scenario(name, cause, {"metadata": {"fault": name}}, note, or_else)


# Played on a worker named `odd`, a few at a time.
ODD = [
    Scenario("worker under another name", "agent_name_mismatch", {"agent_name": "od"}),
    _fault("raises before connecting", "entrypoint_failed"),
    _fault("raises after connecting", "entrypoint_failed"),
    _fault("is killed before connecting", "worker_died", "SIGKILL of the job's process"),
    _fault(
        "blocks before connecting",
        "worker_died",
        "its event loop turns no more; perhaps before its first beat, then it has only never connected",
        "never_connected",
    ),
    _fault("never connects", "never_connected"),
    Scenario("LLM that doesn't exist", "model_misconfigured", {"models": {"llm": NO_SUCH_LLM}}),
    Scenario("TTS that doesn't exist", "model_misconfigured", {"models": {"tts": NO_SUCH_TTS}}),
]
# Each played on a worker of its own.
DEAF = Scenario("no STT in pipeline mode", "model_misconfigured", {}, "AGENT_STT=none")
FROZEN = Scenario("hung: takes the job, never starts it", "job_not_started", {}, "its processes stopped")
FULL = Scenario("worker at capacity", "workers_at_capacity", {}, "waits for its whole budget")
DRAINING = Scenario("worker draining", "worker_draining", {}, "waits for its whole budget")
SCENARIOS = [*ODD, DEAF, FROZEN, FULL, DRAINING]


class Play:
    """Plays the scenarios, each on its worker, all workers at the same time."""

    def __init__(self, rollcall: Rollcall, logs: Path) -> None:
        self._rollcall = rollcall
        self._logs = logs
        self.verdicts: dict[str, Verdict] = {}

    async def everything(self) -> None:
        await asyncio.gather(self._odd(), self._deaf(), self._frozen(), self._full())

    async def _one(self, scenario: Scenario, worker: str) -> None:
        started = await self._rollcall.start(**{"agent_name": worker, **scenario.wish})
        over = await until_over(self._rollcall, started["session_id"], timeout_s=90)
        self.verdicts[scenario.name] = over

    async def _odd(self) -> None:
        few = asyncio.Semaphore(2)

        async def one(scenario: Scenario) -> None:
            async with few:
                await self._one(scenario, "odd")

        async with self._worker("odd", AGENT_IDLE_PROCESSES="2"):
            await self._rollcall.end(await self._served("odd"))
            await asyncio.gather(*(one(scenario) for scenario in ODD))

    async def _deaf(self) -> None:
        async with self._worker("deaf", AGENT_STT="none"):
            await self._one(DEAF, "deaf")

    async def _frozen(self) -> None:
        async with self._worker("frozen") as worker:
            for process in worker.children():
                process.send_signal(signal.SIGSTOP)
            await self._one(FROZEN, "frozen")

    async def _full(self) -> None:
        async with self._worker("single", AGENT_MAX_JOBS="1") as worker:
            busy = await self._served("single")
            await self._one(FULL, "single")
            worker.send(signal.SIGTERM)
            await self._one(DRAINING, "single")
            await self._rollcall.end(busy)

    async def _served(self, name: str) -> str:
        """Return a session with its agent; a new worker's first jobs may start too late."""
        session_id: str = (await self._rollcall.start_served(agent_name=name))["session_id"]
        return session_id

    def _worker(self, name: str, **env: str) -> Any:
        return our_worker(self._rollcall, agent_name=name, log=self._logs / f"{name}.log", env=env)


@pytest_asyncio.fixture(scope="module")
async def verdicts(agent_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Every scenario's end."""
    async with AsyncExitStack() as running:
        rollcall = Rollcall(agent_stack)
        running.push_async_callback(rollcall.close)
        play = Play(rollcall, tmp_path_factory.mktemp("our-workers"))
        await play.everything()
    return play.verdicts


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_the_cause_is_exact(
    scenario: Scenario, verdicts: dict[str, Verdict], board: Scoreboard, agent_stack: Stack
) -> None:
    who = f"our worker: {scenario.name}"
    judge(board, verdicts[scenario.name], who, scenario.cause, *scenario.or_else, note=scenario.note)


async def test_another_name_comes_with_the_names_seen_and_the_nearest(verdicts: dict[str, Verdict]) -> None:
    evidence = verdicts["worker under another name"].evidence
    assert "odd" in evidence["names_seen"]
    assert evidence["nearest"] == "odd"


async def test_a_model_that_does_not_exist_is_named(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["LLM that doesn't exist"].evidence["descriptor"] == NO_SUCH_LLM
    assert verdicts["TTS that doesn't exist"].evidence["descriptor"] == NO_SUCH_TTS


async def test_a_worker_without_ears_says_which_model_is_missing(verdicts: dict[str, Verdict]) -> None:
    evidence = verdicts[DEAF.name].evidence
    assert evidence["descriptor"] == "stt"
    assert "AGENT_STT" in evidence["message"]


async def test_an_exception_comes_with_its_type(verdicts: dict[str, Verdict]) -> None:
    for scenario in ("raises before connecting", "raises after connecting"):
        assert verdicts[scenario].evidence["type"] == "RuntimeError"


async def test_a_session_in_line_says_what_it_waits_for(verdicts: dict[str, Verdict]) -> None:
    for scenario in (FULL, DRAINING):
        waits = verdicts[scenario.name].all("session.waiting.v1")
        assert [wait["cause"] for wait in waits] == [scenario.cause]
        assert verdicts[scenario.name].count("dispatch.started.v1") == 0
