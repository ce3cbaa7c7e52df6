"""Causes that are known at once fail the session at once: LiveKit refuses us, or waiting is off."""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.environment import clean_environment
from devstack.servers import LiveKitServer
from devstack.stack import Stack
from shared.platform.clock import utc_now
from tests.support.clocks import clock_off_by
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall
from tests.support.verdicts import Verdict, judge, until_over

pytestmark = pytest.mark.faults

# The dispatcher sees these causes at its first call, or without one.
SERVICES = ("api", "dispatcher")


@dataclass(frozen=True)
class Scenario:
    """What is wrong with the control plane, its variables or its clock; how many attempts that costs."""

    name: str
    cause: str = "livekit_auth"
    env: dict[str, str] = field(default_factory=dict)
    hours: int = 0
    attempts: int = 1


SCENARIOS = [
    Scenario("wrong key", env={"LIVEKIT_API_KEY": "APIwrong"}),
    Scenario("wrong secret", env={"LIVEKIT_API_SECRET": secrets.token_urlsafe(36)}),
    # A token of the SDK's is good for 6 h from now on, so a clock that is behind does no harm until then.
    Scenario("clock 7 h behind", hours=-7),
    Scenario("clock 1 h ahead", hours=1),
    Scenario(
        "no worker, and waiting off", "no_worker_registered", env={"WAIT_FOR_WORKERS": "false"}, attempts=0
    ),
]


@pytest_asyncio.fixture(scope="module")
async def verdicts(
    livekit_server: LiveKitServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    """The end of a session on each of these control planes, all beside one LiveKit server."""

    async def play(scenario: Scenario) -> Verdict:
        env = {
            "LIVEKIT_URL": livekit_server.url,
            "LIVEKIT_API_KEY": livekit_server.api_key,
            "LIVEKIT_API_SECRET": livekit_server.api_secret,
            **scenario.env,
        }
        clock = clock_off_by(scenario.hours) if scenario.hours else {}
        return await _play(tmp_path_factory.mktemp("refused"), env, clock)

    found = await asyncio.gather(*(play(scenario) for scenario in SCENARIOS))
    return {scenario.name: verdict for scenario, verdict in zip(SCENARIOS, found, strict=True)}


async def _play(state: Path, env: dict[str, str], clock: dict[str, str]) -> Verdict:
    own_env = dict.fromkeys(SERVICES, clock)
    env = clean_environment(env)
    async with Stack(state, env=env, services=SERVICES, service_env=own_env) as stack:
        rollcall = Rollcall(stack)
        started = await rollcall.start(agent_name="nobody")
        try:
            return await until_over(rollcall, started["session_id"])
        finally:
            await rollcall.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_one_call_is_enough_to_know(
    scenario: Scenario, verdicts: dict[str, Verdict], board: Scoreboard
) -> None:
    verdict = verdicts[scenario.name]
    judge(board, verdict, scenario.name, scenario.cause)
    assert verdict.session["attempt"] == scenario.attempts, "another attempt can't help"
    assert verdict.count("session.waiting.v1") == 0
    assert verdict.count("dispatch.failed.v1") == 0


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.hours], ids=lambda scenario: scenario.name)
async def test_a_wrong_clock_is_measured(scenario: Scenario, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[scenario.name]
    off = timedelta(hours=scenario.hours)
    slack = timedelta(minutes=5)
    told = datetime.fromisoformat(verdict.events[0]["time"])
    assert abs(told - off - utc_now()) < slack, "the services did not have the wrong time"
    assert abs(timedelta(seconds=verdict.evidence["clock_skew_s"]) - off) < slack
