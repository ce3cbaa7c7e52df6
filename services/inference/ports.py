"""What the service needs of its engines. Put another one in by wiring it in `bootstrap.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]  # mono, 16 kHz, from -1 to 1


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said. An empty text means that it was no speech after all."""

    text: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Audio:
    """Mono PCM: signed 16-bit, little-endian."""

    pcm: bytes
    sample_rate: int


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a conversation, its text parts joined."""

    role: str
    text: str


class Transcriber(Protocol):
    """Turns one utterance into text."""

    @property
    def ready(self) -> bool:
        """Whether the weights are loaded."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being transcribed, and nothing waits."""

    async def transcribe(self, speech: Samples, *, quickly: bool = False) -> Transcript:
        """Transcribe without blocking the event loop; `quickly`, for a first impression."""


class SpeechDetector(Protocol):
    """Hears one stream, a window at a time; it keeps what it needs of the windows before."""

    def probability(self, window: Samples) -> float:
        """How likely the window (512 samples) is speech, from 0 to 1."""


class Synthesizer(Protocol):
    """Gives text a voice."""

    async def speak(self, text: str, *, voice: str | None) -> Audio:
        """Speak `text`; any voice id is accepted. Raises `SynthesisFailed`."""


class Converser(Protocol):
    """Answers a conversation."""

    def __call__(self, messages: Sequence[Message]) -> str:
        """Return the next thing to say."""


class SynthesisFailed(Exception):
    """The synthesizer did not produce audio."""


class EngineMissing(Exception):
    """An engine is not installed; the message says how to install it."""
