"""What the service needs from its engines. To use another engine, build it in `bootstrap.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]  # mono, 16 kHz, from -1 to 1


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said. An empty text means that there was no speech."""

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


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a tool, as its JSON schema describes it.

    type: `string`, `number`, `integer`, `boolean`, `array` or `object`. item: what an array holds.
    """

    name: str
    type: str = "string"
    choices: tuple[Any, ...] = ()
    item: "Parameter | None" = None
    nullable: bool = False
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function of the agent that the model may call."""

    name: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The tools of one request. `forced`: one of them has to be called."""

    known: tuple[Tool, ...] = ()
    forced: bool = False


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a tool, instead of words."""

    name: str
    arguments: dict[str, Any]


class Transcriber(Protocol):
    """Turns one utterance into text."""

    @property
    def ready(self) -> bool:
        """Whether the weights are loaded."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being transcribed, and nothing waits."""

    async def transcribe(self, speech: Samples, *, quickly: bool = False) -> Transcript:
        """Transcribe without blocking the event loop.

        `quickly` trades accuracy for speed, for interim results.
        """


class SpeechDetector(Protocol):
    """Processes one stream, a window at a time, and remembers what it needs of earlier windows."""

    def probability(self, window: Samples) -> float:
        """Return how likely the window (512 samples) is speech, from 0 to 1."""


class Synthesizer(Protocol):
    """Gives text a voice."""

    async def speak(self, text: str, *, voice: str | None) -> Audio:
        """Speak `text`; any voice id is accepted. Raises `SynthesisFailed`."""


class Converser(Protocol):
    """Answers a conversation."""

    def __call__(self, messages: Sequence[Message], tools: Tools) -> str | ToolCall:
        """Return the next thing to say, or the tool to call before that."""


class SynthesisFailed(Exception):
    """The synthesizer did not produce audio."""


class EngineMissing(Exception):
    """An engine is not installed; the message says how to install it."""
