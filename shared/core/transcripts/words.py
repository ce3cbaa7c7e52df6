"""The definition of a word, for texts and for queries.

A word is a run of letters and digits with their marks, in Unicode's NFKC_Casefold form: upper and lower case,
wide and narrow, composed and decomposed letters are the same; marks and accents matter. In scripts without
spaces (and in Hangul, whose words take endings), each character with its marks is a word, so a search for a
run of them is a search for a phrase. Databases get words and never split a text themselves, since each would
do it differently.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

# The limits of PostgreSQL's tsvector: 16,383 positions, words below 2 kB, 1 MB in total.
MAX_CHARACTERS: Final = 100_000
MAX_WORDS: Final = 16_000
LONGEST_WORD: Final = 200

# The letters of Unicode's line breaking classes ID and SA (UAX #14), and Hangul.
_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c"  # marks of repetition, Han numerals
    "\u3040-\u318f\u31a0-\u31bf\u31f0-\u31ff"  # kana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\ua000-\ua4cf"  # Yi
)
_UNSPACED_BEYOND: Final = (
    "\U00011700-\U0001174f\U00016fe0-\U00018d08\U0001aff0-\U0001b16f\U00020000-\U0003fffd"
)
# Invisible characters that don't separate, such as joiners within a word. A zero-width space separates.
_IGNORED: Final = (
    "\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e0fff"
)


def _marks(codes: range) -> str:
    r"""Return the combining marks among these characters, as ranges: Python's `\w` does not include them."""
    found = [code for code in codes if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    # Consecutive numbers have the same distance to their indexes.
    runs = [list(run) for _, run in groupby(enumerate(found), key=lambda placed: placed[1] - placed[0])]
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


def _word(*, marks: str, unspaced: str) -> re.Pattern[str]:
    spaced = rf"[^\W_{unspaced}]"
    return re.compile(rf"{spaced}+(?:[{marks}]+{spaced}*)*|[^\W_][{marks}]*")


_LOW_MARKS: Final = _marks(range(0x300, 0x10000))
_MARKS: Final = _LOW_MARKS + _marks(range(0x10000, 0x20000))
_WORD: Final = _word(marks=_MARKS, unspaced=_UNSPACED + _UNSPACED_BEYOND)
# Much faster: the engine uses a table below U+10000, and checks all other ranges one by one.
_LOW_WORD: Final = _word(marks=_LOW_MARKS, unspaced=_UNSPACED)
_ASCII_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_NOTHING: Final = re.compile(f"[{_IGNORED}]+")
# Characters that normalising may combine: jamo, and narrow forms that become jamo or marks.
_CLUSTER: Final = re.compile(rf".[{_MARKS}{_IGNORED}\u1160-\u11ff\ud7b0-\ud7ff\uff9e-\uffdc]*", re.DOTALL)


class Word(NamedTuple):
    """A word, and its position in the original text."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[str]:
    """Return the words of a text, in order."""
    if text.isascii():
        words = _ASCII_WORD.findall(text[:MAX_CHARACTERS].lower())
    else:
        plain = _plain(text[:MAX_CHARACTERS])[:MAX_CHARACTERS]
        low = len(plain.encode("utf-16-le", "surrogatepass")) == 2 * len(plain)
        words = (_LOW_WORD if low else _WORD).findall(plain)
    if len(text) <= LONGEST_WORD:
        return words
    return [word[:LONGEST_WORD] for word in words[:MAX_WORDS]]


def find_words(text: str) -> Iterator[Word]:
    """Return the same words with their positions; this costs more."""
    text = text[:MAX_CHARACTERS]
    if text.isascii():
        found = ((match, match.start(), match.end()) for match in _ASCII_WORD.finditer(text.lower()))
    else:
        plain: list[str] = []
        sources: list[tuple[int, int]] = []
        for cluster in _CLUSTER.finditer(text):
            piece = _plain(cluster.group())
            plain.append(piece)
            sources += [cluster.span()] * len(piece)
        found = (
            (match, sources[match.start()][0], sources[match.end() - 1][1])
            for match in _WORD.finditer("".join(plain)[:MAX_CHARACTERS])
        )
    for number, (match, start, end) in enumerate(found):
        if number == MAX_WORDS:
            return
        yield Word(match.group()[:LONGEST_WORD], start, end)


def _plain(text: str) -> str:
    """Return the text in its normalised form."""
    shown = _NOTHING.sub("", text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())
    # Lower case of the Turkish capital with a dot: an i already has one.
    return folded.replace("i\u0307", "i")
