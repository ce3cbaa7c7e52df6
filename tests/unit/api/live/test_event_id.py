"""An event's id says how much of a stream a follower has seen."""

import random

import pytest

from services.api.live.event_id import MAX_LENGTH, Position


def seen(sequence: int, *turns: int) -> Position:
    position = Position(sequence)
    for seq in turns:
        position.add_turn(seq)
    return position


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (seen(0), "0"),
        (seen(12), "12"),
        (seen(12, 1), "12.1"),
        (seen(12, 2, 1, 3, 7), "12.1-3,7"),
        (seen(3, 1, 3, 2), "3.1-3"),
        (seen(3, 1001, 1003, 1002, 1, 2), "3.1-2,1001-1003"),
        (seen(3, 5, 5, 5, 6), "3.5-6,5x3"),
    ],
)
def test_it_is_written_as_short_as_can_be_and_read_again(position: Position, text: str) -> None:
    assert str(position) == text
    assert str(Position.parse(text)) == text


def test_a_number_alone_and_nothing_at_all_are_positions_too() -> None:
    assert str(Position.parse("7")) == "7"
    assert str(Position.parse("")) == "0"


def test_any_turns_in_any_order_are_known_again_and_no_others() -> None:
    chance = random.Random(1)
    for _ in range(200):
        turns = [chance.randint(1, 30) for _ in range(chance.randint(0, 40))]
        position = Position.parse(str(seen(1, *turns)))
        assert [position.times(seq) for seq in range(33)] == [turns.count(seq) for seq in range(33)]


def test_ranges_that_overlap_are_one() -> None:
    assert str(Position.parse("1.5-9,1-6,20,9-11")) == "1.1-11,20"


def test_of_very_many_gaps_it_says_what_fits_and_nothing_that_was_not_seen() -> None:
    position = seen(999_999_999, *range(999_000_001, 999_010_000, 3), *range(999_000_002, 999_010_000, 3))
    assert len(str(position)) <= MAX_LENGTH
    again = Position.parse(str(position))
    assert again.times(999_000_001) == 1
    assert all(again.times(seq) <= position.times(seq) for seq in range(999_000_000, 999_010_001))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "-1",
        "1.",
        "1.2,",
        "1.2-",
        "1.7-2",
        "1.2x",
        "1.1-2x3",
        "1 ",
        "1.2.3",
        "٣",
        "1" * 10,
        "1.1\n",
        "+1",
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no position|backwards"):
        Position.parse(text)
