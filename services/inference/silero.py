"""Speech detection by Silero's VAD, from the ONNX file that faster-whisper brings along."""

from typing import Any

import numpy as np

from services.inference.ports import EngineMissing, Samples

_CONTEXT = 64  # samples of the previous window that the model needs again
_STATE = (1, 1, 128)


class SileroDetector:
    """Detects speech in one stream. All streams share one model."""

    def __init__(self) -> None:
        """The first one of a process is slow, because it loads the model. Raises `EngineMissing`."""
        self._session = _session()
        self._h = np.zeros(_STATE, np.float32)
        self._c = np.zeros(_STATE, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def probability(self, window: Samples) -> float:
        """Return how likely the window is speech."""
        seen = np.concatenate((self._context, window))[np.newaxis]
        self._context = window[-_CONTEXT:]
        # faster-whisper's own wrapper starts from silence at each call, which would be wrong for a stream.
        output, self._h, self._c = self._session.run(None, {"input": seen, "h": self._h, "c": self._c})
        return float(np.asarray(output).item())


def _session() -> Any:
    try:
        from faster_whisper.vad import get_vad_model
    except ImportError as missing:
        raise EngineMissing(
            f"speech detection needs the Python package {missing.name}: pip install faster-whisper==1.2.1"
        ) from missing
    return get_vad_model().session
