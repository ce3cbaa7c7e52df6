"""What a healthy session may cost: counts, which do not depend on the machine."""

from functools import partial

from bench.client import open_client
from bench.cost import count_at_rest, count_sessions
from bench.counts import LIVEKIT, TASKS, WRITES
from bench.joiners import running_joiners
from bench.throughput import AGENT_NAME, Side, our_session
from devstack.stack import Stack

SESSIONS = 6
REST_S = 4.0
# Measured, and a little more: what the stack does meanwhile by the clock is taken off only on average.
MOST = {WRITES: 20.0, LIVEKIT: 7.0, TASKS: 5.0}


async def test_a_healthy_session_costs_no_more_than_before(agentless_stack: Stack) -> None:
    async with (
        running_joiners(agentless_stack, agent_name=AGENT_NAME, slots=20) as joiners,
        open_client(agentless_stack) as client,
    ):
        side = Side("rollcall", agentless_stack, joiners, partial(our_session, client))
        rest = await count_at_rest(agentless_stack, REST_S)
        each = await count_sessions(side, SESSIONS, rest)
    assert {kind: each.of(kind) for kind in MOST if each.of(kind) > MOST[kind]} == {}, each
