"""The search language: words, "phrases", -not and OR. A query means the same on every database.

Words beside each other must all occur. OR, in capitals, separates alternatives and binds less.
`shared.core.transcripts.words` defines words: `don't` is the phrase "don t", and a run of Chinese is a phrase
of characters.
"""

import re
from dataclasses import dataclass
from typing import Final

from shared.core.transcripts.words import words_of

MAX_TERMS: Final = 32

_TERM: Final = re.compile(r'(-?)(?:"([^"]*)"|([^\s"]+))|(")')
# PostgreSQL accepts no NUL, no database accepts a lone surrogate, and nobody says either.
_UNSPEAKABLE: Final = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_EMPTY: Final = "the query contains no word"

Words = tuple[str, ...]


class MalformedQuery(ValueError):
    """The query has no meaning; the message says why."""


@dataclass(frozen=True)
class Alternative:
    """All phrases of `wanted` must occur, and none of `unwanted`. Each phrase has one word or more."""

    wanted: tuple[Words, ...]
    unwanted: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Query:
    """A query: one of its alternatives must match."""

    alternatives: tuple[Alternative, ...]

    @property
    def wanted(self) -> list[Words]:
        """The words of every wanted phrase."""
        return [phrase for alternative in self.alternatives for phrase in alternative.wanted]


def parse(text: str) -> Query:
    """Parse the text of a query; raises `MalformedQuery`."""
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
            raise MalformedQuery("each alternative needs a word without -")
        if not wanted:
            raise MalformedQuery("OR must stand between two words or phrases" if len(sides) > 1 else _EMPTY)
    if sum(len(wanted) + len(unwanted) for wanted, unwanted in sides) > MAX_TERMS:
        raise MalformedQuery(f"at most {MAX_TERMS} words or phrases")
    return Query(tuple(Alternative(tuple(wanted), tuple(unwanted)) for wanted, unwanted in sides))
