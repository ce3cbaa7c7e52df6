"""The rules hold a conversation that a person would recognise as one."""

from datetime import UTC, datetime

import pytest

from services.inference.converse import GREETING, reply
from services.inference.ports import Message
from services.inference.understand import day_in, name_in, sum_in, time_in

NOW = datetime(2026, 11, 23, 15, 7, tzinfo=UTC)


class Call:
    """A caller who talks with the rules."""

    def __init__(self) -> None:
        self.messages = [Message(role="system", text="You are a helpful agent.")]

    def says(self, text: str) -> str:
        self.messages.append(Message(role="user", text=text))
        return self.hears()

    def hears(self) -> str:
        answer = reply(self.messages, now=NOW)
        self.messages.append(Message(role="assistant", text=answer))
        return answer


@pytest.mark.parametrize("role", ["system", "developer"])
def test_with_nothing_but_instructions_it_greets(role: str) -> None:
    assert reply([Message(role=role, text="Greet the caller.")], now=NOW) == GREETING


def test_an_empty_user_message_before_any_answer_is_an_occasion_to_greet() -> None:
    assert reply([Message(role="user", text=" . ")], now=NOW) == GREETING


def test_it_remembers_the_callers_name_and_uses_it() -> None:
    call = Call()
    call.hears()
    assert "Anna" in call.says("Hello, my name is Anna.")
    call.says("What are your opening hours?")
    assert call.says("What's my name?") == "Your name is Anna."
    assert call.says("That's all, goodbye.") == "Goodbye, Anna, and have a nice day."


def test_it_asks_for_a_name_that_it_was_not_told() -> None:
    call = Call()
    assert "haven't told me" in call.says("Do you know my name?")
    assert call.says("Bob.") == "Nice to meet you, Bob. What can I do for you?"


def test_it_asks_for_each_missing_part_of_an_appointment() -> None:
    call = Call()
    assert "Which day" in call.says("I'd like to book an appointment.")
    assert "What time" in call.says("On Tuesday, please.")
    assert "Tuesday at 3 PM" in call.says("At 3 in the afternoon.")


def test_it_does_not_ask_for_what_was_said_already() -> None:
    assert "Friday at 9:30 AM" in Call().says("Can I book Friday at half past nine?")


def test_a_closed_day_is_turned_down_and_the_time_is_kept() -> None:
    call = Call()
    assert "closed on Sundays" in call.says("Book me an appointment on Sunday at ten.")
    assert "Monday at 10 AM" in call.says("Then Monday.")


def test_a_new_appointment_starts_from_nothing() -> None:
    call = Call()
    call.says("Book me in for Monday at ten.")
    assert "Which day" in call.says("I need another appointment.")


def test_a_booking_can_be_called_off() -> None:
    call = Call()
    call.says("I need an appointment.")
    assert "booked nothing" in call.says("Never mind.")


def test_an_answer_that_is_none_gets_the_question_again() -> None:
    call = Call()
    call.says("I need an appointment.")
    assert call.says("Hmm, well.").endswith("Which day suits you?")


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("What time is it?", "It is 3:07 PM."),
        ("What day is it today?", "Today is Monday, November 23."),
        ("What time do you open?", "We are open Monday to Friday, from 9 AM to 5 PM."),
        ("What is 12 times 7?", "12 times 7 is 84."),
        ("Who are you?", "I am the Rollcall assistant, a computer that answers the phone."),
        ("Thank you very much.", "You're welcome. Is there anything else?"),
        ("Bye bye.", "Goodbye, and have a nice day."),
        ("…", "Sorry, I didn't catch that. Could you say it again?"),
    ],
)
def test_simple_questions(heard: str, answer: str) -> None:
    call = Call()
    call.hears()
    assert call.says(heard) == answer


def test_it_repeats_itself_on_request_however_often() -> None:
    call = Call()
    hours = call.says("When do you close?")
    assert call.says("Could you repeat that?") == f"I said: {hours}"
    assert call.says("Pardon?") == f"I said: {hours}"


def test_what_it_does_not_know_it_names_and_does_not_harp_on() -> None:
    call = Call()
    first = call.says("Can I bring my dog?")
    second = call.says("What about my parrot?")
    assert "the dog" in first
    assert "the parrot" in second
    assert "opening hours" in second


def test_an_agent_that_takes_over_says_so_to_the_caller_it_knows() -> None:
    history = [
        Message(role="user", text="My name is Anna."),
        Message(role="assistant", text="Nice to meet you, Anna."),
        Message(role="system", text="Tell the caller that you are back."),
    ]
    assert reply(history, now=NOW) == "I'm here, Anna. What can I do for you?"


def test_a_tools_result_is_told() -> None:
    history = [Message(role="user", text="Weather?"), Message(role="tool", text="sunny")]
    assert reply(history, now=NOW) == "Here is what I found: sunny."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My name is anna.", "Anna"),
        ("Hi, I'm Bob and I need help.", "Bob"),
        ("I’m Carla.", "Carla"),
        ("I'm fine, thanks.", None),
        ("I am looking for a dentist.", None),
        ("This is not what I want.", None),
    ],
)
def test_names(text: str, name: str | None) -> None:
    assert name_in(text) == name


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("at 3 p.m.", "3 PM"),
        ("9:30 in the morning", "9:30 AM"),
        ("half past nine", "9:30 AM"),
        ("quarter to four", "3:45 PM"),
        ("ten o'clock", "10 AM"),
        ("at three", "3 PM"),
        ("15:00", "3 PM"),
        ("noon", "noon"),
        ("3.", "3 PM"),
        ("Tuesday", None),
        ("three of us", None),
    ],
)
def test_times(text: str, time: str | None) -> None:
    assert time_in(text) == time


def test_the_last_day_named_counts() -> None:
    assert day_in("Not Monday, Tuesday.") == "Tuesday"
    assert day_in("Tomorrow, please") == "tomorrow"
    assert day_in("someday") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("What's twenty-five plus one hundred and three?", "25 plus 103 is 128."),
        ("5 divided by 2", "5 divided by 2 is 2.5."),
        ("10 divided by zero?", "I can't divide by zero."),
        ("9 minus 12", "9 minus 12 is -3."),
        ("add two and three", "2 plus 3 is 5."),
        ("My number is 555-1234.", None),
        ("one and two", None),
    ],
)
def test_sums(text: str, answer: str | None) -> None:
    assert sum_in(text) == answer
