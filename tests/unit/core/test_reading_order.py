"""A conversation is read in the order of speech, whatever the order in which its turns were published."""

import random
from datetime import timedelta
from typing import Any

from shared.core.transcripts.reading_order import Place, Spoken, in_reading_order
from tests.unit.making import T0


def spoken(item_id: str, seq: int, created: float, started: float | None = None, **fields: Any) -> Spoken:
    began = None if started is None else T0 + timedelta(seconds=started)
    values = {"attempt": 1, "kind": "message", **fields}
    return Spoken(
        item_id=item_id, seq=seq, created_at=T0 + timedelta(seconds=created), started_at=began, **values
    )


def call(item_id: str, seq: int, created: float, call_id: str | None = "c1", **fields: Any) -> Spoken:
    return spoken(item_id, seq, created, kind="function_call", call_id=call_id, **fields)


def answer(item_id: str, seq: int, created: float, call_id: str | None = "c1", **fields: Any) -> Spoken:
    return spoken(item_id, seq, created, kind="function_call_output", call_id=call_id, **fields)


def names(*turns: Spoken) -> list[str]:
    return [place.item_id for place in in_reading_order(turns)]


def seconds(places: list[Place]) -> list[float]:
    return [(place.at - T0).total_seconds() for place in places]


def test_words_that_were_told_after_their_answer_stand_before_it() -> None:
    assert names(
        spoken("answer", 1, 4, started=3),
        spoken("question", 2, 1, started=1),
        spoken("answer 2", 3, 9, started=8),
        spoken("question 2", 4, 6),
    ) == ["question", "answer", "question 2", "answer 2"]


def test_speech_that_overlaps_is_in_the_order_in_which_it_began() -> None:
    assert names(spoken("long", 2, 20, started=5), spoken("mhm", 1, 11, started=9)) == ["long", "mhm"]


def test_turns_of_one_moment_are_in_the_order_of_their_numbers() -> None:
    assert names(spoken("b", 2, 1), spoken("a", 3, 1), spoken("c", 1, 1)) == ["c", "b", "a"]


def test_a_clock_that_is_behind_puts_no_later_attempt_before_an_earlier_one() -> None:
    places = in_reading_order(
        [
            spoken("back again", 1001, -3600, attempt=2),
            spoken("and on", 1002, -3598, attempt=2),
            spoken("late from the spool", 3, 20),
            spoken("first", 1, 10),
        ]
    )
    assert [place.item_id for place in places] == ["first", "late from the spool", "back again", "and on"]
    # Pauses within an attempt are as long as they were.
    assert seconds(places) == [10, 20, 20, 22]


def test_a_tools_answer_stands_behind_its_call_whatever_was_said_meanwhile() -> None:
    places = in_reading_order(
        [
            spoken("meanwhile", 1, 3, started=2),
            call("call 1", 2, 1),
            answer("answer 1", 3, 5),
            call("call 2", 4, 1.5, "c2"),
            answer("answer 2", 5, 1.2, "c2"),
        ]
    )
    assert [place.item_id for place in places] == ["call 1", "answer 1", "call 2", "answer 2", "meanwhile"]
    assert seconds(places) == [1, 1.2, 1.2, 1.2, 2]


def test_an_id_that_came_twice_is_answered_call_by_call() -> None:
    assert names(
        call("call 1", 1, 1), answer("answer 1", 2, 2), call("call 2", 3, 3), answer("answer 2", 4, 4)
    ) == ["call 1", "answer 1", "call 2", "answer 2"]


def test_an_answer_without_a_call_stands_at_its_own_time() -> None:
    # After an erasure no call has an id; and a call of another attempt is another's.
    assert names(
        call("call", 1, 1, None),
        spoken("said", 2, 3),
        answer("answer", 3, 2, None),
        answer("of the next", 1001, 0, attempt=2),
    ) == ["call", "answer", "said", "of the next"]


def test_handoffs_and_instructions_stand_where_they_were_made() -> None:
    assert names(
        spoken("hello", 1, 2, started=2),
        spoken("handoff", 2, 5, kind="agent_handoff"),
        spoken("new instructions", 3, 5, kind="instructions"),
        spoken("before", 4, 6, started=4),
        spoken("instructions", 5, 0, kind="instructions"),
    ) == ["instructions", "hello", "before", "handoff", "new instructions"]


def test_any_turns_have_one_order_in_which_time_never_goes_back() -> None:
    chance = random.Random(15)
    kinds = ["message", "function_call", "function_call_output"]
    for _ in range(200):
        turns = [
            spoken(
                f"item {number}",
                chance.randint(1, 20),
                chance.randint(-20, 20),
                chance.choice([None, chance.randint(-20, 20)]),
                attempt=chance.randint(1, 3),
                kind=chance.choice(kinds),
                call_id=chance.choice([None, "c1", "c2"]),
            )
            for number in range(chance.randint(0, 12))
        ]
        places = in_reading_order(turns)
        assert sorted(place.item_id for place in places) == sorted(turn.item_id for turn in turns)
        assert [place.at for place in places] == sorted(place.at for place in places)
        chance.shuffle(turns)
        assert in_reading_order(turns) == places
