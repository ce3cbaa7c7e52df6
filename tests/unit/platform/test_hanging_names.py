"""A name whose server is silent holds up its own project's lookups, and nothing else of the process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shared.platform.name_lookup import MOST_OF_A_PROJECT, Names
from shared.platform.threads import in_thread
from tests.stack_fixtures.waiting import eventually
from tests.support.hanging_names import HANGING, hanging_names


@pytest.fixture(autouse=True)
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with hanging_names(monkeypatch) as asked:
        yield asked


async def test_the_names_of_one_project_hold_up_no_other_project(hanging: list[str]) -> None:
    names = Names(timeout_s=1.0)
    greedy = [asyncio.create_task(names.look_up(f"{n}.{HANGING}", 443, project="greedy")) for n in range(200)]
    await eventually(lambda: len(hanging) == MOST_OF_A_PROJECT)
    found = await names.look_up("localhost", 443, project="other")
    assert {address[0] for *_, address in found} <= {"127.0.0.1", "::1"}
    outcomes = await asyncio.gather(*greedy, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TimeoutError}
    assert len(hanging) == MOST_OF_A_PROJECT, "a thread that hangs keeps its place"


async def test_what_an_answer_says_is_handed_on() -> None:
    with pytest.raises(socket.gaierror):
        await Names().look_up("nobody.invalid", 443, project="default")
    with pytest.raises(UnicodeError):
        await Names().look_up("a" * 64 + ".example", 443, project="default")


async def test_threads_of_ours_are_none_that_names_are_looked_up_on(hanging: list[str]) -> None:
    loop = asyncio.get_running_loop()
    lookups = [asyncio.ensure_future(loop.getaddrinfo(f"{n}.{HANGING}", 443)) for n in range(64)]
    await eventually(lambda: len(hanging) > 0)
    async with asyncio.timeout(20):
        name = await in_thread(lambda: threading.current_thread().name)
    assert name.startswith("ours")
    for each in lookups:
        each.cancel()


async def test_a_process_ends_without_waiting_for_a_name(hanging: list[str]) -> None:
    looking: asyncio.Task[Any] = asyncio.create_task(Names().look_up(f"x.{HANGING}", 443, project="a"))
    await eventually(lambda: len(hanging) == 1)
    [thread] = [one for one in threading.enumerate() if one.name == "name-lookup"]
    assert thread.daemon
    looking.cancel()
