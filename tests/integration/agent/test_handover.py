"""What an agent gets: its order, the number of its first turn, and the conversation so far."""

from typing import Any

import pytest

from services.dispatcher.repository import HISTORY_TURNS, Repository
from shared.contracts.dispatching import PastTurn
from shared.core.sessions.tables import AttemptRow
from shared.platform.database.database import Database
from tests.integration.dispatcher.dispatching import take
from tests.integration.rows import (
    a_turn,
    put_session,
    store_turns,
)
from tests.unit.fake_rooms import unreachable
from tests.unit.making import T0, FakeClock


async def test_the_newest_turns_are_handed_over_in_their_order(
    database: Database, repository: Repository
) -> None:
    row, other = await put_session(database), await put_session(database)
    turns = [a_turn(row.id, seq) for seq in range(HISTORY_TURNS + 5, 0, -1)]
    await store_turns(database, [*turns, a_turn(other.id)])
    history = await repository.history(row.id)
    assert [turn.item_id for turn in history] == [f"item_{seq}" for seq in range(6, HISTORY_TURNS + 6)]


async def test_a_turn_is_handed_over_as_it_was_stored(database: Database, repository: Repository) -> None:
    row = await put_session(database)
    turn = a_turn(row.id, kind="function_call", role="tool", interrupted=True, extra={"name": "search"})
    await store_turns(database, [turn])
    [past] = await repository.history(row.id)
    assert past == PastTurn.model_validate(turn.model_dump(include=set(PastTurn.model_fields)))


async def test_the_next_agent_counts_on_from_the_turns_that_are_stored(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    claim = await take(repository, row)
    assert claim.order.first_seq == 1
    await store_turns(database, [a_turn(row.id, seq) for seq in (1, 2, 3)], now=clock)
    await repository.refused(claim, unreachable())
    clock.forward(seconds=2)
    assert (await take(repository, row)).order.first_seq == 4


@pytest.mark.parametrize(
    ("fields", "first_seq", "takes_over"),
    [
        ({}, 4, True),
        ({"entrypoint_at": T0}, 1004, True),
        ({"active_at": T0}, 1004, True),
        ({"active_at": T0, "expected_turns": 3}, 4, True),
        ({"active_at": T0, "expected_turns": 5}, 6, True),
    ],
    ids=["nobody came", "the job ran", "an agent was seen", "all stored", "two on their way"],
)
async def test_numbers_are_left_free_for_what_a_dead_agent_may_not_have_sent_yet(
    database: Database,
    repository: Repository,
    clock: FakeClock,
    fields: dict[str, Any],
    first_seq: int,
    takes_over: bool,
) -> None:
    row = await put_session(database)
    claim = await take(repository, row)
    await store_turns(database, [a_turn(row.id, seq) for seq in (1, 2, 3)], now=clock)
    await repository.refused(claim, unreachable())
    async with database.write() as db:
        attempt = await db.get_one(AttemptRow, (row.id, 1))
        for name, value in fields.items():
            setattr(attempt, name, value)
    clock.forward(seconds=2)
    order = (await take(repository, row)).order
    assert (order.first_seq, order.takes_over) == (first_seq, takes_over)


async def test_an_agent_after_one_that_never_said_anything_greets(
    database: Database, repository: Repository, clock: FakeClock
) -> None:
    row = await put_session(database)
    claim = await take(repository, row)
    assert not claim.order.takes_over
    async with database.write() as db:
        (await db.get_one(AttemptRow, (row.id, 1))).active_at = T0
    await repository.refused(claim, unreachable())
    clock.forward(seconds=2)
    order = (await take(repository, row)).order
    assert (order.first_seq, order.takes_over) == (1001, False)


async def test_the_order_carries_what_the_client_asked_for(
    database: Database, repository: Repository
) -> None:
    row = await put_session(
        database,
        mode="realtime",
        models={"realtime": "openai/gpt-realtime"},
        instructions="Be brief.",
        canary=True,
    )
    order = (await take(repository, row)).order
    assert order.canary
    assert (order.session_id, str(order.mode), order.instructions) == (row.id, "realtime", "Be brief.")
    assert order.models.realtime == "openai/gpt-realtime"
