"""The count at the end of a fault run: an agent that is being removed is no second one, one that stays is."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support import census
from tests.support.scoreboard import Scoreboard
from tests.support.sessions import Rollcall

STARTED: dict[str, Any] = {"session_id": "s", "room_name": "r"}


def rollcall(status: str, *agents: list[str]) -> Rollcall:
    """An API and a LiveKit that list these agents, one list at each look, and then the last one."""
    looks = list(agents)

    async def agents_in(_: str) -> list[str]:
        return looks.pop(0) if len(looks) > 1 else looks[0]

    def answers(answer: Any) -> Callable[[str], Awaitable[Any]]:
        async def asked(_: str) -> Any:
            return answer

        return asked

    session = {"session_id": "s", "status": status, "failure": {"cause": "never_connected"}}
    fake = SimpleNamespace(session=answers(session), agents_in=agents_in, end=answers({}))
    return cast("Rollcall", fake)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "LEAVING_S", 0.2)


@pytest.mark.parametrize(
    ("status", "agents"), [("failed", (["late"], ["late"], [])), ("active", (["late", "one"], ["one"]))]
)
async def test_an_agent_that_is_being_removed_is_no_second_one(
    status: str, agents: tuple[list[str], ...]
) -> None:
    board = Scoreboard()
    [session] = await census.take_census(rollcall(status, *agents), board, [STARTED])
    assert session["agents"] == agents[-1]
    assert not any(board.counts().values())


@pytest.mark.parametrize(("status", "agents"), [("failed", ["late"]), ("active", ["late", "one"])])
async def test_a_second_agent_that_stays_is_counted(status: str, agents: list[str]) -> None:
    board = Scoreboard()
    with pytest.raises(AssertionError):
        await census.take_census(rollcall(status, agents), board, [STARTED])
    assert board.double_agents == 1
    assert board.broken_promises == 1
