"""A stack that has held a conversation, and has failed, under the eyes of Prometheus and Alertmanager, and
that sends its spans to a receiver.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from cli.call.caller import Caller
from devstack.environment import clean_environment
from devstack.stack import Stack
from tests.observability.known import RULES
from tests.stack_fixtures.stacks import LONG_BUDGET, LONG_LIMITS
from tests.support.observatory import Observatory, observing
from tests.support.otlp import Traces, receiving
from tests.support.sessions import Rollcall, until

FASTER = 20
# Every worker is ours, so a session that nobody could serve fails at once.
ENVIRONMENT = {**LONG_LIMITS, **LONG_BUDGET, "WAIT_FOR_WORKERS": "false"}
UNSERVED = "nobody"
QUESTION = "What are your opening hours?"
# What a client says of the session, and is in no span.
CONFIDENTIAL: dict[str, Any] = {
    "instructions": "Be kind to Ottilie.",
    "metadata": {"customer": "Fridolin"},
    "participant_identity": "Eusebius",
    "participant_name": "Leopoldine",
}


@dataclass(frozen=True)
class Observed:
    """The stack, and who looks at it."""

    rollcall: Rollcall
    observatory: Observatory
    traces: Traces
    spoken: dict[str, Any]  # as they were started: the conversation, and the canary
    canary: dict[str, Any]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    async with AsyncExitStack() as cleanup:
        traces = await cleanup.enter_async_context(receiving())
        env = clean_environment({**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url})
        stack = Stack(folder / "stack", env=env, restart=False, tell=print)
        await cleanup.enter_async_context(stack)
        rollcall = Rollcall(stack)
        async with observing(stack, folder / "observatory", rules=RULES, faster=FASTER) as observatory:
            await _until_scraped(observatory)
            await rollcall.put("/v1/agents/agent/traffic", {"": 100, UNSERVED: 0})
            spoken, canary, _ = await asyncio.gather(
                _talk(rollcall), _canary(rollcall), join_and_fail(rollcall)
            )
            yield Observed(rollcall, observatory, traces, spoken, canary)
        await rollcall.close()


async def _talk(rollcall: Rollcall) -> dict[str, Any]:
    """Two turns and more of a spoken conversation, so that each stage of a turn is measured."""
    started = await rollcall.start(**CONFIDENTIAL)
    async with Caller(server_url=started["server_url"], token=started["participant_token"]) as caller:
        await rollcall.until_status(started["session_id"], "active")
        await caller.wait_until_agent_quiet(60)
        await caller.say(QUESTION)
        await caller.wait_until_agent_quiet(60)

        async def answered() -> bool:
            items = (await rollcall.transcript(started["session_id"]))["items"]
            return any(item["latencies"]["e2e_latency"] for item in items)

        await until(answered, what="the answer is stored")
    await rollcall.until_status(started["session_id"], "ended")
    return started


async def _canary(rollcall: Rollcall) -> dict[str, Any]:
    started = await rollcall.start(canary=True)
    await rollcall.until_status(started["session_id"], "ended")
    return started


async def join_and_fail(rollcall: Rollcall) -> None:
    """A session whose agent joins, and one for an agent that nobody is."""
    started = await rollcall.start()
    await until_failed(rollcall, await rollcall.start(agent_name=UNSERVED))

    async def settled() -> bool:
        # A machine that is too busy for it is no matter: another session follows.
        return bool((await rollcall.session(started["session_id"]))["status"] in {"active", "failed"})

    await until(settled, what="the session has an agent, or failed")
    await rollcall.end(started["session_id"])


async def _until_scraped(observatory: Observatory) -> None:
    """A rise is seen only from what was there before."""

    async def scraped() -> bool:
        return all(observatory.prometheus.instant(f'up{{job="{job}"}} == 1') for job in observatory.jobs)

    await until(scraped, what="every process was scraped")


async def until_failed(rollcall: Rollcall, started: dict[str, Any]) -> None:
    async def failed() -> bool:
        return bool((await rollcall.session(started["session_id"]))["status"] == "failed")

    await until(failed, what="the session has failed")
