"""Find a name, a day, a time, numbers or a sum in a caller's sentence, written or transcribed."""

import operator
import re
from collections.abc import Callable
from typing import Final


def _words(spaced: str) -> list[str]:
    return spaced.split()


_UNITS: Final = {
    word: value
    for value, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
            " fifteen sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS: Final = {
    word: value * 10
    for value, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
_SMALL: Final = _UNITS | _TENS
_NUMBER_WORD: Final = "|".join([*_SMALL, "hundred", "thousand"])
_NUMBER: Final = rf"-?\d[\d,]*(?:\.\d+)?|(?:{_NUMBER_WORD})(?:[\s-]+(?:and\s+)?(?:{_NUMBER_WORD}))*"

_OPERATORS: Final[tuple[tuple[str, str, Callable[[float, float], float]], ...]] = (
    (r"plus|\+", "plus", operator.add),
    (r"minus|less|\s[-−]\s", "minus", operator.sub),  # spaces around it: not a telephone number
    (r"times|multiplied by|x|\*|×", "times", operator.mul),
    (r"divided by|over|\s/\s|÷", "divided by", operator.truediv),
)
_SUM_OF: Final = re.compile(r"\b(?:add|sum of)\b", re.IGNORECASE)  # "add two and three"

_DAYS: Final = _words("monday tuesday wednesday thursday friday saturday sunday")
_DAY: Final = re.compile(rf"\b({'|'.join(_DAYS)}|today|tomorrow)s?\b", re.IGNORECASE)

_HOUR: Final = r"\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_HALF_DAY: Final = r"a\.?\s?m\b|p\.?\s?m\b|in the (?:morning|afternoon|evening)"
_TIMES: Final = (
    re.compile(rf"\b(?P<shift>half|quarter) (?P<side>past|to) (?P<hour>{_HOUR})\b", re.IGNORECASE),
    re.compile(
        rf"\b(?P<hour>{_HOUR})(?:[:. ](?P<minute>[0-5]\d|thirty|fifteen))?"
        rf"(?: o'?\s?clock)?,? ?(?P<half>{_HALF_DAY})",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)\b"),
    re.compile(rf"\b(?P<hour>{_HOUR}) o'?\s?clock\b", re.IGNORECASE),
    re.compile(
        rf"\b(?:at|around|about|by) (?P<hour>{_HOUR})(?: (?P<minute>thirty|fifteen))?\b",
        re.IGNORECASE,
    ),
    re.compile(rf"^\W*(?P<hour>{_HOUR})(?: (?P<minute>thirty|fifteen))?\W*$", re.IGNORECASE),
)

_NAME: Final = re.compile(
    r"\b(?:my name is|my name's|call me|this is|i am called)\s+(?P<given>[a-z][a-z'-]+)"
    # "I'm Anna", but not "I'm fine": a name has a capital letter, and is not one of these words.
    r"|\b(?:i'm|i am)\s+(?-i:(?P<said>[A-Z][a-z'-]+))(?!\s+[a-z]+ing\b)",
    re.IGNORECASE,
)
_NOT_NAMES: Final = frozenset(
    _words(
        "a an the not so very here there fine good great ok okay sorry just looking calling trying"
        " going interested happy sure back about for what why how"
    )
)


def name_in(text: str) -> str | None:
    """Return the name that the speaker gives."""
    for match in _NAME.finditer(text.replace("’", "'")):
        name = match["given"] or match["said"]
        if name.lower() not in _NOT_NAMES:
            return name[0].upper() + name[1:]
    return None


def day_in(text: str) -> str | None:
    """Return the last day named: `Monday` … `Sunday`, `today` or `tomorrow`."""
    days = _DAY.findall(text)
    if not days:
        return None
    day: str = days[-1].lower()
    return day.capitalize() if day in _DAYS else day


def time_in(text: str) -> str | None:
    """Return the time of day named, as people say it: `3 PM`, `9:30 AM`, `noon`.

    Without AM or PM, it means the time within usual business hours.
    """
    text = text.replace("’", "'")
    if re.search(r"\b(noon|midday)\b", text, re.IGNORECASE):
        return "noon"
    for pattern in _TIMES:
        match = pattern.search(text)
        if match is not None:
            return _clock_time(match.groupdict())
    return None


def _clock_time(found: dict[str, str | None]) -> str | None:
    hour = _whole(found["hour"] or "")
    minute = _whole(found.get("minute") or "0")
    if found.get("shift"):
        minute = 30 if (found["shift"] or "").lower() == "half" else 15
        if (found["side"] or "").lower() == "to":
            hour, minute = hour - 1, 60 - minute
    if hour > 23:
        return None
    half = (found.get("half") or "").lower()
    if hour > 12:
        half, hour = "pm", hour - 12
    afternoon = half.startswith("p") or "afternoon" in half or "evening" in half
    morning = half.startswith("a") or "morning" in half
    is_pm = afternoon or (not morning and (hour < 8 or hour == 12))
    shown = f"{hour or 12}:{minute:02}" if minute else f"{hour or 12}"
    return f"{shown} {'PM' if is_pm else 'AM'}"


def _whole(word: str) -> int:
    return int(word) if word.isdigit() else _SMALL[word.lower()]


def sum_in(text: str) -> str | None:
    """Return the answer to a sum of two numbers, as a sentence."""
    if _SUM_OF.search(text):
        text = re.sub(r"\b(and|to)\b", "plus", text)
    for spelling, spoken, operate in _OPERATORS:
        pattern = rf"(?<![\w.])({_NUMBER})\s*(?:{spelling})\s*({_NUMBER})(?!\w)"
        match = re.search(pattern, text, re.IGNORECASE)
        if match is None:
            continue
        left, right = _value(match[1]), _value(match[2])
        if operate is operator.truediv and right == 0:
            return "I can't divide by zero."
        return f"{_said(left)} {spoken} {_said(right)} is {_said(operate(left, right))}."
    return None


def numbers_in(text: str) -> list[float]:
    """The numbers in the text, in digits or in words, in their order."""
    return [_value(found) for found in re.findall(rf"(?<![\w.])(?:{_NUMBER})(?!\w)", text, re.IGNORECASE)]


def _value(number: str) -> float:
    if number.lstrip("-")[0].isdigit():
        return float(number.replace(",", ""))
    total = current = 0
    for word in re.split(r"[\s-]+", number.lower()):
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        elif word != "and":
            current += _SMALL[word]
    return float(total + current)


def _said(value: float) -> str:
    return f"{round(value, 2):,.12g}" if abs(value) < 1e12 else f"{value:.3g}"
