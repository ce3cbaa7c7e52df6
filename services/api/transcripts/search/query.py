"""The search language: words, "phrases", -not and OR; it means the same on every database.

Words next to each other must all occur; OR, in capitals, separates alternatives and binds less. What a word
is, `shared.core.transcripts.words` says: `don't` is the phrase "don t", and a run of Chinese is a phrase of
characters.
"""

import re
from dataclasses import dataclass
from typing import Final

from shared.core.transcripts.words import words_of

MAX_TERMS: Final = 32

_TERM: Final = re.compile(r'(-?)(?:"([^"]*)"|([^\s"]+))|(")')
# PostgreSQL takes no NUL, nobody a lone surrogate, and nobody says either.
_UNSPEAKABLE: Final = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_EMPTY: Final = "there is no word in it"

Words = tuple[str, ...]


class MalformedQuery(ValueError):
    """What was typed means nothing; the message says why."""


@dataclass(frozen=True)
class Alternative:
    """All phrases of `wanted` must occur, and none of `unwanted`; each has one word or more."""

    wanted: tuple[Words, ...]
    unwanted: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Query:
    """One of the alternatives must hold."""

    alternatives: tuple[Alternative, ...]

    @property
    def wanted(self) -> list[Words]:
        """The words of every phrase that a hit may be found by."""
        return [phrase for alternative in self.alternatives for phrase in alternative.wanted]


def parse(text: str) -> Query:
    """Return what the text means; raises `MalformedQuery`."""
    sides: list[tuple[list[Words], list[Words]]] = [([], [])]
    for minus, quoted, bare, quote in _TERM.findall(_UNSPEAKABLE.sub(" ", text)):
        if quote:
            raise MalformedQuery("a quotation mark is not closed")
        if bare == "OR" and not minus:
            sides.append(([], []))
        elif phrase := words_of(quoted or bare):
            sides[-1][bool(minus)].append(tuple(phrase))
    for wanted, unwanted in sides:
        if not wanted and unwanted:
            raise MalformedQuery("something has to be wanted, not only unwanted")
        if not wanted:
            raise MalformedQuery("OR stands between two things" if len(sides) > 1 else _EMPTY)
    if sum(len(wanted) + len(unwanted) for wanted, unwanted in sides) > MAX_TERMS:
        raise MalformedQuery(f"at most {MAX_TERMS} words or phrases")
    return Query(tuple(Alternative(tuple(wanted), tuple(unwanted)) for wanted, unwanted in sides))
