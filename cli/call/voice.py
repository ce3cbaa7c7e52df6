"""A synthesised voice for callers: sentences become mono 16-bit PCM."""

import asyncio
import io
import shutil
import tempfile
import wave
from pathlib import Path
from typing import Final

SAMPLE_RATE: Final = 16_000
BYTES_PER_SECOND: Final = 2 * SAMPLE_RATE
VOICE: Final = "slt"


class VoiceMissing(Exception):
    """There is no speech synthesiser on this machine."""


async def synthesise(text: str, *, voice: str = VOICE) -> bytes:
    """Return `text` spoken, as PCM at `SAMPLE_RATE`; raises `VoiceMissing`."""
    flite = shutil.which("flite")
    if flite is None:
        raise VoiceMissing("flite is not installed: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        process = await asyncio.create_subprocess_exec(
            flite,
            "-voice",
            voice,
            "-t",
            text,
            "-o",
            str(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode != 0:
            raise VoiceMissing(f"flite failed: {errors.decode(errors='replace').strip()}")
        return read_wav(file.read_bytes())


def read_wav(content: bytes) -> bytes:
    """Return the PCM of a WAV file; raises `ValueError` unless it is mono, 16-bit, at `SAMPLE_RATE`."""
    with wave.open(io.BytesIO(content)) as wav:
        shape = (wav.getnchannels(), wav.getsampwidth(), wav.getframerate())
        if shape != (1, 2, SAMPLE_RATE):
            raise ValueError(f"needed: mono, 2 bytes, {SAMPLE_RATE} Hz; given: {shape}")
        pcm: bytes = wav.readframes(wav.getnframes())
        return pcm


def write_wav(path: Path, pcm: bytes) -> None:
    """Write PCM at `SAMPLE_RATE` as a WAV file."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        wav.writeframes(pcm)
