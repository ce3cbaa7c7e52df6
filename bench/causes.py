"""How soon the operator learns the cause: seconds from the request to the critical event, by cause.

It measures only causes that are cheap to produce; tests/faults produces all of them. If a worker may still
come or a slot become free, Rollcall waits until the budget is spent. WAIT_FOR_WORKERS=false says that the
registry knows every worker, so there is nothing to wait for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from bench.client import Client, open_client
from bench.joiners import running_joiners
from bench.options import Figure, Options, Results, fact, p50, say, seconds, show_times
from bench.stacks import bench_stack, until_idle
from devstack.stack import Stack

BUDGET_S = 15.0
# LiveKit's client SDKs give up then.
AIM_WITHIN_BUDGET_S = 20.0
AIM_KNOWN_S = 1.0
SLACK_S = 20.0
# How long a stopped worker stays in the registry.
REGISTRY_S = 3.5

Setting = Callable[[Stack, Client], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _nothing(_: Stack, __: Client) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _other_name(stack: Stack, _: Client) -> AsyncIterator[None]:
    async with running_joiners(stack, agent_name="ligth"):
        yield
    await asyncio.sleep(REGISTRY_S)


@asynccontextmanager
async def _full(stack: Stack, client: Client) -> AsyncIterator[None]:
    async with running_joiners(stack, slots=1):
        caller = await client.start(agent_name="light")
        await client.feed.until(caller["session_id"], "agent.joined.v1", timeout_s=BUDGET_S + SLACK_S)
        yield
        await client.end(caller["session_id"])
        await until_idle(stack, "light")
    await asyncio.sleep(REGISTRY_S)


def _behaving(behaviour: str) -> Setting:
    @asynccontextmanager
    async def setting(stack: Stack, _: Client) -> AsyncIterator[None]:
        async with running_joiners(stack, behaviour=behaviour):
            yield
        await asyncio.sleep(REGISTRY_S)

    return setting


@asynccontextmanager
async def _livekit_down(stack: Stack, _: Client) -> AsyncIterator[None]:
    await stack.process("livekit").stop()
    yield
    await stack.process("livekit").start()


@dataclass(frozen=True)
class Case:
    """A fault, how to cause it, and how soon its cause must be known."""

    what: str
    cause: str
    make: Setting
    aim_s: float = AIM_WITHIN_BUDGET_S


@dataclass(frozen=True)
class Surroundings:
    """A stack, and the faults that are caused in it one after another."""

    cases: Sequence[Case]
    env: Mapping[str, str] = field(default_factory=dict)
    service_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


PLAN = (
    Surroundings(
        [
            Case("no worker, waiting off", "no_worker_registered", _nothing, AIM_KNOWN_S),
            Case("wrong name, waiting off", "agent_name_mismatch", _other_name, AIM_KNOWN_S),
            Case("at capacity, waiting off", "workers_at_capacity", _full, AIM_KNOWN_S),
        ],
        env={"WAIT_FOR_WORKERS": "false"},
    ),
    Surroundings(
        [Case("wrong secret", "livekit_auth", _nothing, AIM_KNOWN_S)],
        service_env={"dispatcher": {"LIVEKIT_API_SECRET": "wrong-secret-wrong-secret-wrong-secret"}},
    ),
    Surroundings(
        [
            Case("no worker", "no_worker_registered", _nothing),
            Case("wrong name", "agent_name_mismatch", _other_name),
            Case("at capacity", "workers_at_capacity", _full),
            Case("worker refuses", "worker_rejected", _behaving("refuse")),
            Case("worker hangs", "assignment_timeout", _behaving("hang")),
            Case("LiveKit down", "livekit_unreachable", _livekit_down),
        ]
    ),
)


@dataclass(frozen=True)
class Told:
    """When the sessions of one case failed, and with which causes."""

    case: Case
    seconds: list[float]
    causes: set[str]


async def run(chosen: Options, results: Results) -> None:
    """Measure and show."""
    rounds = chosen.pick_rounds(short=3, full=10)
    told: list[Told] = []
    for surroundings in PLAN:
        env = {"JOIN_BUDGET_S": str(BUDGET_S), **surroundings.env}
        async with (
            bench_stack(chosen, env=env, service_env=surroundings.service_env) as stack,
            open_client(stack) as client,
        ):
            for case in surroundings.cases:
                async with case.make(stack, client):
                    told.append(await _measure(client, case, rounds))
    _show(results, told)


async def _measure(client: Client, case: Case, rounds: int) -> Told:
    say(f"{case.what} …")

    async def one(number: int) -> tuple[float, str]:
        # Spread, as callers are, so that no periodic task meets all of them at once.
        await asyncio.sleep(number * 0.13)
        session_id = (await client.start(agent_name="light"))["session_id"]
        requested = await client.feed.until(session_id, "session.requested.v1", timeout_s=SLACK_S)
        types = ("session.failed.v1", "agent.joined.v1", "session.ended.v1")
        failed = await client.feed.until(session_id, *types, timeout_s=BUDGET_S + SLACK_S)
        return failed.at - requested.at, str(failed.data.get("cause", failed.type))

    done = await asyncio.gather(*(one(number) for number in range(rounds)))
    return Told(case, [taken for taken, _ in done], {cause for _, cause in done})


def _show(results: Results, told: Sequence[Told]) -> None:
    show_times("request to critical event", [(one.case.what, one.seconds) for one in told])
    figures = []
    for one in told:
        taken, aim = p50(one.seconds), one.case.aim_s
        figures.append(
            Figure(f"{one.case.what}: p50", seconds(taken), f"at most {seconds(aim)}", taken <= aim)
        )
        right = one.causes == {one.case.cause}
        figures.append(fact("cause named", ", ".join(sorted(one.causes)) + ("" if right else " (WRONG)")))
    wrong = sum(one.causes != {one.case.cause} for one in told)
    figures.append(Figure("causes named wrongly", str(wrong), "0", wrong == 0))
    results.show("causes", "time to the critical event", figures)
