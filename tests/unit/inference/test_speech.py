"""Where an utterance begins and ends, and what flite is given to say."""

import numpy as np
import pytest

from services.inference.audio import Resampler, to_samples
from services.inference.flite import NAMED_VOICES, FliteSynthesizer, flite_voice, plain
from services.inference.ports import EngineMissing, Samples
from services.inference.segment import WINDOW, Segmenter, SpeechStarted, Utterance


class LoudnessDetector:
    """Takes what is loud for speech."""

    def probability(self, window: Samples) -> float:
        return float(np.abs(window).mean() > 0.1)


def _audio(pattern: str) -> Samples:
    """A window of speech for each `#`, one of silence for each `.`."""
    return np.repeat([0.5 if c == "#" else 0.0 for c in pattern], WINDOW).astype(np.float32)


def _segmenter() -> Segmenter:
    return Segmenter(detector=LoudnessDetector(), silence_s=0.32)  # ten windows


def _heard(*, audio: Samples, piece: int) -> list[SpeechStarted | Utterance]:
    segmenter = _segmenter()
    starts = range(0, len(audio), piece)
    return [event for s in starts for event in segmenter.push(audio[s : s + piece])]


@pytest.mark.parametrize("piece", [100, 800, WINDOW, 100_000])
def test_an_utterance_is_cut_the_same_however_the_audio_comes(piece: int) -> None:
    pattern = "." * 20 + "#" * 8 + "." * 5 + "#" * 8 + "." * 12
    events = _heard(audio=_audio(pattern), piece=piece)
    assert [type(event) for event in events] == [SpeechStarted, Utterance]
    started, utterance = events
    assert started == SpeechStarted(at=20 * 0.032)
    assert isinstance(utterance, Utterance)
    assert (utterance.start, utterance.end) == pytest.approx((20 * 0.032, 41 * 0.032))
    assert utterance.offset < utterance.start  # soft beginnings are kept


def test_a_click_is_no_speech() -> None:
    assert _heard(audio=_audio("." * 10 + "###" + "." * 20), piece=WINDOW) == []


def test_flush_ends_the_utterance_at_once_and_only_once() -> None:
    segmenter = _segmenter()
    segmenter.push(_audio("#" * 8))
    assert segmenter.flush() is not None
    assert segmenter.flush() is None


def test_what_was_said_so_far_is_there_while_somebody_speaks_and_only_then() -> None:
    segmenter = _segmenter()
    segmenter.push(_audio("." * 20))
    silence = segmenter.speech
    assert silence is None
    segmenter.push(_audio("#" * 8))
    speech = segmenter.speech
    assert speech is not None
    assert (speech.start, speech.end) == pytest.approx((20 * 0.032, 28 * 0.032))
    assert len(speech.samples) == (28 - 12) * WINDOW  # from before the onset, as in the whole utterance
    segmenter.push(_audio("."))
    over = segmenter.speech
    assert over is None, "it may be over: its whole transcript comes first"
    segmenter.push(_audio("#"))
    again = segmenter.speech
    assert again is not None
    assert again.start == speech.start


def test_endless_speech_is_cut_before_whisper_would_drop_its_end() -> None:
    events = _heard(audio=_audio("#" * 1500), piece=WINDOW)
    utterances = [event for event in events if isinstance(event, Utterance)]
    assert [round(len(u.samples) / 16_000) for u in utterances] == [20, 20]


@pytest.mark.parametrize(("source", "target"), [(48_000, 16_000), (8_000, 24_000), (16_000, 16_000)])
def test_resampling_keeps_the_length_and_the_tone(source: int, target: int) -> None:
    tone = (np.sin(np.arange(source) * 2 * np.pi * 440 / source) * 20_000).astype("<i2").tobytes()
    resampler = Resampler(source=source, target=target)
    step = source // 20 * 2
    pieces = [resampler.push(tone[i : i + step]) for i in range(0, len(tone), step)]
    samples = to_samples(b"".join(pieces) + resampler.flush())
    assert len(samples) == pytest.approx(target, abs=target // 100)
    loudest = np.abs(np.fft.rfft(samples)).argmax() * target / len(samples)
    assert loudest == pytest.approx(440, abs=5)


def test_a_voice_id_always_gets_the_same_voice() -> None:
    ids = [f"voice-{n}" for n in range(50)]
    assert [flite_voice(i) for i in ids] == [flite_voice(i) for i in ids]
    assert {flite_voice(i) for i in ids} <= NAMED_VOICES
    assert len({flite_voice(i) for i in ids}) > 1
    assert flite_voice(None) == "slt"
    assert flite_voice("kal") == "kal"


def test_flite_is_given_ascii_without_markup() -> None:
    assert plain("<emotion value='happy'/>It’s a café — really…") == "It's a cafe , really."
    assert plain("你好") == ""


def test_a_missing_flite_is_named_with_what_to_do() -> None:
    with pytest.raises(EngineMissing, match="apt-get install flite"):
        FliteSynthesizer(path="/nowhere/flite")
