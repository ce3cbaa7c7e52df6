"""How long a worker's answer is worth waiting for, and when it is overdue."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from services.verifier.prove.answers import (
    FEWEST,
    KEPT,
    OWED_S,
    SHORTEST_S,
    expect_answer,
    expect_no_more,
    is_overdue,
    note_answer,
    window_s,
)
from tests.unit.making import T0


@pytest.mark.parametrize(
    ("answers", "window"),
    [
        ([], 3.0),
        ([0.1] * (FEWEST - 1), 3.0),
        ([0.1] * FEWEST, SHORTEST_S),
        ([0.1] * 20 + [0.5], 1.5),
        ([0.1] * 20 + [2.5], 3.0),
    ],
)
def test_a_window_follows_the_slowest_of_the_newest_answers(answers: list[float], window: float) -> None:
    assert window_s(answers, longest_s=3.0) == pytest.approx(window)


async def test_a_host_that_gets_slow_gets_more_time_at_once_and_keeps_it_for_a_while(redis: Redis) -> None:
    windows = []
    for number, seconds in enumerate([0.1] * FEWEST + [0.8] + [0.1] * KEPT):
        sent = T0 + timedelta(seconds=number)
        windows.append(await expect_answer(redis, "w-1", f"s-{number}:1", since=sent, longest_s=3.0))
        await note_answer(redis, "w-1", f"s-{number}:1", since=sent, seconds=seconds)
    assert windows[: FEWEST + 1] == [3.0] * FEWEST + [1.0]
    assert windows[FEWEST + 1 : FEWEST + KEPT] == [pytest.approx(2.4)] * (KEPT - 1)
    assert windows[-1] == pytest.approx(2.4)
    assert await expect_answer(redis, "w-2", "s-x:1", since=T0, longest_s=3.0) == 3.0


async def ask(redis: Redis, worker_id: str, *, after_s: float) -> None:
    sent = T0 + timedelta(seconds=after_s)
    await expect_answer(redis, worker_id, f"s-{after_s}:1", since=sent, longest_s=3.0)


async def answer(redis: Redis, worker_id: str, *, after_s: float) -> None:
    sent = T0 + timedelta(seconds=after_s)
    await note_answer(redis, worker_id, f"s-{after_s}:1", since=sent, seconds=0.1)


async def test_of_a_lone_dispatch_only_its_worker_is_slow(redis: Redis) -> None:
    await ask(redis, "w-1", after_s=0)
    await ask(redis, "w-1", after_s=0.1)
    assert await is_overdue(redis, "w-1", since=T0)


async def test_while_others_owe_answers_too_the_system_is_slow_until_one_overtakes(redis: Redis) -> None:
    await ask(redis, "w-1", after_s=0)
    for after_s in (-0.2, 0.2, 0.4):
        await ask(redis, "w-2", after_s=after_s)
    await answer(redis, "w-2", after_s=-0.2)
    assert not await is_overdue(redis, "w-1", since=T0), "an answer to an earlier dispatch overtakes nothing"
    await answer(redis, "w-1", after_s=0.3)
    assert not await is_overdue(redis, "w-1", since=T0), "its own answers neither"
    await answer(redis, "w-2", after_s=0.2)
    assert await is_overdue(redis, "w-1", since=T0)


async def test_who_is_not_waited_for_owes_nothing(redis: Redis) -> None:
    await ask(redis, "w-1", after_s=0)
    await ask(redis, "w-2", after_s=0.2)
    await expect_no_more(redis, "w-2", "s-0.2:1")
    assert await is_overdue(redis, "w-1", since=T0)
    await ask(redis, "w-3", after_s=-OWED_S - 1)
    assert await is_overdue(redis, "w-1", since=T0), "that one was forgotten long ago"
