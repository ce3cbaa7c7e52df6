"""How well speech was understood."""

import jiwer


def word_error(spoken: str, understood: str) -> float:
    """Return the share of words that were misheard, left out or added; case and punctuation do not count."""
    plain = jiwer.Compose(
        [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()]
    )
    return float(jiwer.wer(plain(spoken), plain(understood)))
