"""What a word is, in every script; and where it stands in the text as it was written."""

import random

import pytest

from shared.core.transcripts.words import LONGEST_WORD, MAX_WORDS, find_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't look_up 3.14!", ["don", "t", "look", "up", "3", "14"]),
        ("iPhone手机", ["iphone", "手", "机"]),
        ("น้ำ", ["น้ํ", "า"]),
        ("कि की", ["कि", "की"]),
        ("ｶﾞ ガ か\u3099", ["ガ", "ガ", "が"]),
        ("Straße İI ı", ["strasse", "ii", "ı"]),
        ("cafe\u0301", ["café"]),
        ("25℃ ½ Ⅳ", ["25", "c", "1", "2", "iv"]),
        ("a\u200bb a\u200db", ["a", "b", "ab"]),
        ("hello🙂world 1️⃣", ["hello", "world", "1"]),
        ("학교", ["학", "교"]),
        ("\u1112\u1161\u11ab", ["한"]),
        ("\u0301 \u093f", []),
        ("", []),
    ],
)
def test_a_text_is_made_of_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_words_are_the_same_with_their_places_and_each_lies_within_the_text() -> None:
    chance = random.Random(16)
    odd = [0x301, 0x307, 0x200D, 0x200B, 0x1100, 0x1161, 0x11A8, 0xFF76, 0xFF9E, 0xFFA1, 0xFFC2, 0xBD, 0x130]
    for _ in range(2_000):
        codes = [
            chance.choice([*odd, chance.randrange(0x20, 0x3100), chance.randrange(0x1D000, 0x1F000)])
            for _ in range(chance.randint(0, 9))
        ]
        text = "".join(map(chr, codes))
        found = list(find_words(text))
        assert [word.text for word in found] == words_of(text), ascii(text)
        assert all(0 <= word.start < word.end <= len(text) for word in found)


def test_words_are_no_more_and_no_longer_than_an_index_holds() -> None:
    assert len(words_of("手" * 50_000)) == MAX_WORDS
    assert words_of("a" * 5_000) == ["a" * LONGEST_WORD]
    assert len(list(find_words("手 " * 50_000))) == MAX_WORDS
