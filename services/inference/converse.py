"""Hold a short conversation by rules: the front desk of a small office.

Every answer is one or two short sentences, since it will be spoken, and depends only on the messages and the
clock. The rules are in a table at the end; the first rule with an answer wins.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.inference.ports import Message
from services.inference.understand import day_in, name_in, sum_in, time_in

GREETING: Final = "Hello! This is the Rollcall assistant. How can I help you today?"
ABILITIES: Final = "I can book an appointment, tell you our opening hours, the time or the date, and do sums."
HOURS: Final = "We are open Monday to Friday, from 9 AM to 5 PM."
ASK_DAY: Final = "Which day suits you?"
ASK_TIME: Final = "What time would suit you?"
BOOKED: Final = "I have booked you in for"
NOT_HEARD: Final = "Sorry, I didn't catch that."
ANYTHING_ELSE: Final = "Is there anything else?"

_CLOSED_DAYS: Final = ("Saturday", "Sunday")
# Words that say nothing about the topic at the end of a sentence that no rule knows.
_IDLE_WORDS: Final = re.compile(
    r"\w{1,2}|about|actually|after|again|all|also|and|any|are|because|before|being|but|can|could|"
    r"did|does|doing|done|for|from|get|going|had|has|have|her|here|him|his|how|into|its|just|know|"
    r"let|like|look|looking|maybe|more|much|need|not|now|one|our|out|please|really|right|she|"
    r"should|some|something|tell|than|that|the|their|them|then|there|these|they|thing|think|this|"
    r"those|today|too|very|want|wanted|wants|was|well|were|what|when|where|which|who|why|will|"
    r"with|would|yes|you|your|yours",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Conversation:
    """What a rule may use. `heard` is the caller's last message, `said` is ours before it."""

    heard: str
    said: str
    earlier: Sequence[str]  # the caller's messages, oldest first, the last one included
    now: datetime

    @property
    def name(self) -> str | None:
        """The name that the caller gave last; None if there is none."""
        return next(filter(None, map(name_in, reversed(self.earlier))), None)

    def hears(self, pattern: str) -> bool:
        """Return whether the caller's last message matches, ignoring case."""
        return re.search(pattern, self.heard, re.IGNORECASE) is not None


Rule = Callable[[Conversation], str | None]


def reply(messages: Sequence[Message], *, now: datetime) -> str:
    """Return the next thing to say. System and developer messages only prompt it to speak."""
    spoken = [m for m in messages if m.role in ("user", "assistant", "tool", "function")]
    callers = [m.text for m in spoken if m.role == "user" and _has_words(m.text)]
    ours = [m.text for m in spoken if m.role == "assistant" and m.text.strip()]
    if spoken and spoken[-1].role in ("tool", "function"):
        return _tell_result(spoken[-1].text.strip())
    if not callers and not ours:
        return GREETING
    if not spoken or spoken[-1].role == "assistant":
        # Asked to speak in mid-conversation, as happens to an agent that takes over.
        name = Conversation("", "", callers, now).name
        return f"I'm here, {name}. What can I do for you?" if name else "I'm here. Please go on."
    conversation = Conversation(
        heard=spoken[-1].text.replace("’", "'").strip(),
        said=ours[-1] if ours else "",
        earlier=callers,
        now=now,
    )
    return next(filter(None, (rule(conversation) for rule in RULES)), NOT_HEARD)


def _tell_result(result: str) -> str:
    # A tool that only does something, or hands over to another agent, may have nothing to tell.
    if result in ("", "None", "null"):
        return "That is done."
    return f"Here is what I found: {result[:200].rstrip('.')}."


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _when(pattern: str, answer: str | Callable[[Conversation], str | None]) -> Rule:
    def rule(c: Conversation) -> str | None:
        if not c.hears(pattern):
            return None
        return answer if isinstance(answer, str) else answer(c)

    return rule


def _silence(c: Conversation) -> str | None:
    return None if _has_words(c.heard) else f"{NOT_HEARD} Could you say it again?"


def _repeat(c: Conversation) -> str:
    return f"I said: {c.said.removeprefix('I said: ')}" if c.said else GREETING


def _goodbye(c: Conversation) -> str:
    return f"Goodbye, {c.name}, and have a nice day." if c.name else "Goodbye, and have a nice day."


def _say_name(c: Conversation) -> str:
    return f"Your name is {c.name}." if c.name else "You haven't told me your name yet. What is it?"


def _introduced(c: Conversation) -> str | None:
    name = name_in(c.heard)
    if name is None and "What is it?" in c.said and len(c.heard.split()) <= 2:
        name = c.heard.strip(" .!,").split()[-1].capitalize()
    return f"Nice to meet you, {name}. What can I do for you?" if name else None


def _booking(c: Conversation) -> str | None:
    asked = ASK_DAY in c.said or ASK_TIME in c.said
    if asked and c.hears(r"\b(cancel|never ?mind|forget it|stop|no thanks?)\b"):
        return f"All right, I have booked nothing. {ANYTHING_ELSE}"
    wants = c.hears(r"\b(appointment|book|booking|reserve|reservation|schedule)\b")
    answers = asked and (day_in(c.heard) or time_in(c.heard))
    if not wants and not answers:
        return None
    # Only what was said since the caller last asked for an appointment counts; later words win.
    day = time = None
    for text in _since_booking_began(c.earlier):
        day, time = day_in(text) or day, time_in(text) or time
    if day in _CLOSED_DAYS:
        return f"I'm afraid we are closed on {day}s. {ASK_DAY}"
    if day is None:
        return f"With pleasure. {ASK_DAY}"
    on_day = day if day in ("today", "tomorrow") else f"on {day}"
    if time is None:
        return f"{on_day.capitalize() if on_day == day else 'On ' + day}, certainly. {ASK_TIME}"
    whom = f", {c.name}" if c.name else ""
    return f"{BOOKED} {day} at {time}{whom}. {ANYTHING_ELSE}"


def _since_booking_began(earlier: Sequence[str]) -> Sequence[str]:
    wish = re.compile(r"\b(appointment|book|booking|reserve|reservation|schedule)\b", re.IGNORECASE)
    starts = [index for index, text in enumerate(earlier) if wish.search(text)]
    return earlier[starts[-1] if starts else 0 :]


def _time(c: Conversation) -> str:
    return f"It is {c.now.strftime('%I:%M %p').lstrip('0')}."


def _date(c: Conversation) -> str:
    return f"Today is {c.now.strftime('%A, %B')} {c.now.day}."


def _yes_or_no(c: Conversation) -> str | None:
    if c.hears(r"^\W*(yes|yeah|yep|sure|okay|ok|please)\b[\w\s,]{0,12}\W*$"):
        return "Good. What would you like to do?"
    if c.hears(r"^\W*(no|nope|nothing|not really)\b[\w\s,']{0,20}\W*$"):
        return "All right. Just call again when you need something. Goodbye!"
    return None


def _asks_again(c: Conversation) -> str | None:
    for question in (ASK_DAY, ASK_TIME):
        if question in c.said:
            return f"{NOT_HEARD} {question}"
    return None


def _about_the_topic(c: Conversation) -> str:
    words = [w for w in re.findall(r"[A-Za-z]+", c.heard) if not _IDLE_WORDS.fullmatch(w)]
    if not words:
        return f"{NOT_HEARD} {ABILITIES}"
    topic = words[-1] if words[-1][0].isupper() else f"the {words[-1]}"
    if c.said.startswith("I don't know"):
        return f"I'm afraid I can't help with {topic}. {ABILITIES}"
    return f"I don't know much about {topic}. Would you like to book an appointment about it?"


RULES: Final[tuple[Rule, ...]] = (
    _silence,
    _when(r"\b(repeat|say (that|it) again|pardon|what did you say|come again)\b", _repeat),
    _when(r"\b(good ?bye|bye|see you|that('s| is|'ll be| will be) all|hang up)\b", _goodbye),
    _when(r"\bmy name\?|\b(what('s| is) my name|(know|remember) (me|my name)|who am i)\b", _say_name),
    _booking,
    _introduced,
    _when(r"\b(open|opening|close|closing|business hours|office hours|hours)\b", HOURS),
    _when(r"\b(what time|the time|what's the time|o'clock is it)\b", _time),
    _when(r"\b(what day|what date|the date|today's date|which day is)\b", _date),
    lambda c: sum_in(c.heard),
    _when(
        r"\b(who are you|what are you|your name|are you (a |an )?(real|human|robot|person|bot|ai))",
        "I am the Rollcall assistant, a computer that answers the phone.",
    ),
    _when(r"\bhow are you|how's it going|how do you do", "I'm fine, thank you. How can I help you?"),
    _when(r"\b(help|what can you do|what do you do|options)\b", ABILITIES),
    _when(r"\b(thanks|thank you|thank|cheers)\b", f"You're welcome. {ANYTHING_ELSE}"),
    _when(r"^\W*(hello|hi|hey|good (morning|afternoon|evening))\b", "Hello! How can I help you?"),
    _asks_again,
    _yes_or_no,
    _about_the_topic,
)
