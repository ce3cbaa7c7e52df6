"""Show where a query matched a text, as parts of plain text, so that there is no markup to escape."""

from collections.abc import Iterable, Sequence
from typing import Final

from services.api.transcripts.schemas import SnippetPart
from services.api.transcripts.search.query import Words
from shared.core.transcripts.words import find_words

WORDS_BEFORE: Final = 8
WORDS_SHOWN: Final = 30
_ELLIPSIS: Final = "…"


def make_snippet(text: str, wanted: Iterable[Words]) -> list[SnippetPart]:
    """Return the text around the first hit, with every hit marked.

    The beginning of the text if there is no hit.
    """
    found = list(find_words(text))
    spans = [(word.start, word.end) for word in found]
    hits = _hits([word.text for word in found], list(wanted))
    first = max(0, (min(hits) if hits else 0) - WORDS_BEFORE)
    last = min(len(spans), first + WORDS_SHOWN)
    if not spans:
        return [SnippetPart(text=text[:200], hit=False)] if text else []
    begin = spans[first][0] if first else 0
    end = spans[last - 1][1] if last < len(spans) else len(text)
    parts = [(_ELLIPSIS, False)] if first else []
    at = begin
    for number in range(first, last):
        if number in hits:
            # One character may hold two words, as ½ does; its text appears only once.
            start, stop = max(at, spans[number][0]), spans[number][1]
            parts += [(text[at:start], False), (text[start:stop], True)]
            at = stop
    parts.append((text[at:end], False))
    if last < len(spans):
        parts.append((_ELLIPSIS, False))
    return _joined(parts)


def _hits(words: Sequence[str], wanted: Sequence[Words]) -> set[int]:
    """Return the numbers of the words that a phrase matches."""
    by_first: dict[str, list[Words]] = {}
    for phrase in wanted:
        by_first.setdefault(phrase[0], []).append(phrase)
    return {
        number
        for start, word in enumerate(words)
        for phrase in by_first.get(word, ())
        if tuple(words[start : start + len(phrase)]) == phrase
        for number in range(start, start + len(phrase))
    }


def _joined(parts: Iterable[tuple[str, bool]]) -> list[SnippetPart]:
    """Drop empty parts, and join neighbours of the same kind; the space between two hits stays unmarked."""
    joined: list[SnippetPart] = []
    for text, hit in parts:
        if not text:
            continue
        if joined and joined[-1].hit == hit:
            joined[-1] = SnippetPart(text=joined[-1].text + text, hit=hit)
        else:
            joined.append(SnippetPart(text=text, hit=hit))
    return joined
