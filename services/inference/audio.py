"""Change the sample rate of a stream of mono 16-bit PCM."""

import numpy as np
from av import AudioFrame, AudioResampler

from services.inference.ports import Samples


class Resampler:
    """Resamples a stream piece by piece; at equal rates it passes the pieces through."""

    def __init__(self, *, source: int, target: int) -> None:
        self._source = source
        self._engine = None if source == target else AudioResampler(format="s16", layout="mono", rate=target)

    def push(self, pcm: bytes) -> bytes:
        """Return what is ready; a few milliseconds stay inside until `flush`."""
        if self._engine is None or not pcm:
            return pcm
        samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = self._source
        return _joined(self._engine.resample(frame))

    def flush(self) -> bytes:
        """Return the rest; nothing may be pushed after it."""
        return b"" if self._engine is None else _joined(self._engine.resample(None))


def _joined(frames: list[AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)


def to_samples(pcm: bytes) -> Samples:
    """Return the samples as floats from -1 to 1."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
