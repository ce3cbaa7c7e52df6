"""Split a stream of audio into utterances, since Whisper transcribes only whole ones."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from services.inference.ports import Samples, SpeechDetector

SAMPLE_RATE = 16_000
WINDOW = 512  # samples; what Silero's model was trained on
WINDOW_S = WINDOW / SAMPLE_RATE

SPEECH = 0.5  # a window this likely is speech,
SILENCE = 0.35  # and one below this is not (Silero's own defaults)
ONSET_WINDOWS = 4  # 128 ms: longer than a click, shorter than "no"
PREROLL_WINDOWS = 12  # 384 ms kept from before the onset, for soft first consonants
LONGEST_S = 20.0  # Whisper hears at most 30 s at once


@dataclass(frozen=True)
class SpeechStarted:
    """The speaker began to speak, at this second of the stream."""

    at: float


@dataclass(frozen=True)
class Utterance:
    """The speaker said something.

    offset: the second of the stream at which `samples` begin.
    start, end: the seconds of the speech inside, without the silence around it.
    """

    samples: Samples
    offset: float
    start: float
    end: float


class Segmenter:
    """Feeds a detector window by window, and returns where speech starts and ends."""

    def __init__(self, *, detector: SpeechDetector, silence_s: float) -> None:
        self._detector = detector
        self._silence_windows = max(1, round(silence_s / WINDOW_S))
        self._rest: Samples = np.zeros(0, np.float32)
        self._heard = 0  # windows of the whole stream
        self._recent: deque[Samples] = deque(maxlen=PREROLL_WINDOWS)
        self._voiced_in_a_row = 0
        self._utterance: list[Samples] | None = None  # None between utterances
        self._start = 0  # window at which the speech of the utterance began
        self._quiet = 0  # windows of silence at its end

    def push(self, samples: Samples) -> list[SpeechStarted | Utterance]:
        """Process 16 kHz samples; return the starts and utterances that they made certain, in order."""
        pending = np.concatenate((self._rest, samples))
        whole = len(pending) - len(pending) % WINDOW
        self._rest = pending[whole:]
        found = [self._hear(window) for window in pending[:whole].reshape(-1, WINDOW)]
        return [event for event in found if event is not None]

    @property
    def began(self) -> float | None:
        """The second of the stream at which the current utterance began; None between utterances."""
        return None if self._utterance is None else self._start * WINDOW_S

    @property
    def speech(self) -> Utterance | None:
        """Return the audio of the current utterance so far; None while nobody speaks."""
        if self._utterance is None or self._quiet:
            return None
        return Utterance(
            samples=np.concatenate(self._utterance),
            offset=(self._heard - len(self._utterance)) * WINDOW_S,
            start=self._start * WINDOW_S,
            end=self._heard * WINDOW_S,
        )

    def flush(self) -> Utterance | None:
        """End the current utterance, if there is one."""
        return None if self._utterance is None else self._finish()

    def _hear(self, window: Samples) -> SpeechStarted | Utterance | None:
        probability = self._detector.probability(window)
        self._heard += 1
        if self._utterance is None:
            return self._await_onset(window, probability)
        self._utterance.append(window)
        if probability >= SPEECH:
            self._quiet = 0
        elif probability < SILENCE or self._quiet:
            self._quiet += 1
        over = self._quiet >= self._silence_windows
        too_long = len(self._utterance) * WINDOW_S >= LONGEST_S
        return self._finish() if over or too_long else None

    def _await_onset(self, window: Samples, probability: float) -> SpeechStarted | None:
        self._recent.append(window)
        self._voiced_in_a_row = self._voiced_in_a_row + 1 if probability >= SPEECH else 0
        if self._voiced_in_a_row < ONSET_WINDOWS:
            return None
        self._utterance = list(self._recent)
        self._start = self._heard - ONSET_WINDOWS
        self._quiet = 0
        return SpeechStarted(at=self._start * WINDOW_S)

    def _finish(self) -> Utterance:
        windows = self._utterance or []
        utterance = Utterance(
            samples=np.concatenate([*windows, self._rest]),
            offset=(self._heard - len(windows)) * WINDOW_S,
            start=self._start * WINDOW_S,
            end=(self._heard - self._quiet) * WINDOW_S,
        )
        self._utterance = None
        self._voiced_in_a_row = 0
        self._recent.clear()
        return utterance
