"""The transition table is the design's, edge by edge."""

from itertools import product

import pytest

from shared.contracts.keys import CLOSE_TASK, DISPATCH_TASK, VERIFY_TASK
from shared.contracts.sessions import (
    LIVE,
    NEXT_TASK,
    TERMINAL,
    UNDISPATCHED,
    InvalidTransition,
    SessionStatus,
    check_transition,
)

S = SessionStatus

# Repeated here on purpose, so that nobody changes the table by accident.
ALLOWED = {
    (S.RESERVED, S.REQUESTED),
    (S.RESERVED, S.CANCELLED),
    (S.RESERVED, S.EXPIRED),
    (S.REQUESTED, S.DISPATCHING),
    (S.REQUESTED, S.FAILED),
    (S.REQUESTED, S.CANCELLED),
    (S.DISPATCHING, S.DISPATCHED),
    (S.DISPATCHING, S.ACTIVE),
    (S.DISPATCHING, S.FAILED),
    (S.DISPATCHING, S.CANCELLED),
    (S.DISPATCHED, S.DISPATCHING),
    (S.DISPATCHED, S.ACTIVE),
    (S.DISPATCHED, S.FAILED),
    (S.DISPATCHED, S.CANCELLED),
    (S.ACTIVE, S.DISPATCHING),
    (S.ACTIVE, S.ENDED),
    (S.ACTIVE, S.FAILED),
}
FORBIDDEN = set(product(S, S)) - ALLOWED


@pytest.mark.parametrize(("current", "wanted"), sorted(ALLOWED))
def test_an_allowed_edge_may_be_taken(current: SessionStatus, wanted: SessionStatus) -> None:
    check_transition(current, wanted)


@pytest.mark.parametrize(("current", "wanted"), sorted(FORBIDDEN))
def test_a_forbidden_edge_raises_and_names_both_ends(current: SessionStatus, wanted: SessionStatus) -> None:
    with pytest.raises(InvalidTransition) as raised:
        check_transition(current, wanted)
    assert (raised.value.current, raised.value.wanted) == (current, wanted)
    assert str(current) in str(raised.value)
    assert str(wanted) in str(raised.value)


def test_every_status_is_either_live_or_terminal() -> None:
    assert {S.ENDED, S.FAILED, S.CANCELLED, S.EXPIRED} == TERMINAL
    assert set(S) == LIVE | TERMINAL
    assert not LIVE & TERMINAL


def test_every_live_status_has_a_way_to_an_end() -> None:
    for status in LIVE:
        reached, border = {status}, {status}
        while border:
            border = {wanted for current, wanted in ALLOWED if current in border} - reached
            reached |= border
        assert reached & TERMINAL, status


def test_every_status_has_the_task_that_carries_it_on() -> None:
    assert NEXT_TASK == {
        S.RESERVED: None,  # its caller does
        S.REQUESTED: DISPATCH_TASK,
        S.DISPATCHING: DISPATCH_TASK,
        S.DISPATCHED: VERIFY_TASK,
        S.ACTIVE: VERIFY_TASK,
        S.ENDED: CLOSE_TASK,
        S.FAILED: CLOSE_TASK,
        S.CANCELLED: CLOSE_TASK,
        S.EXPIRED: CLOSE_TASK,
    }
    assert set(NEXT_TASK) == set(S)
    assert set(UNDISPATCHED) == {S.REQUESTED, S.DISPATCHING}
