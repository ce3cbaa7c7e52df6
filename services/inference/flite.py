"""A voice by flite: one short-lived process for each text."""

import asyncio
import io
import re
import shutil
import unicodedata
import wave
import zlib

from services.inference.ports import Audio, EngineMissing, SynthesisFailed

VOICES = ("slt", "rms", "awb")  # for voice ids of other providers; slt if none is given
NAMED_VOICES = frozenset({*VOICES, "kal", "kal16"})
LONGEST_TEXT = 10_000  # characters; an agent's sentence has about a hundred
SILENCE = Audio(pcm=bytes(3200), sample_rate=16_000)  # 100 ms
MOST_PROCESSES = 2
DEADLINE_S = 20.0  # 10 000 characters take about 5 s

_MARKUP = re.compile(r"<[^<>]{1,200}>")  # SSML-like tags, which some providers accept
_TYPOGRAPHY = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": ", ", "—": ", ", "…": ".", "€": " euros "}
)


class FliteSynthesizer:
    """Speaks English text with one of flite's built-in voices."""

    def __init__(self, *, path: str) -> None:
        """Raises `EngineMissing` if the program does not exist."""
        found = shutil.which(path)
        if found is None:
            raise EngineMissing(
                f"no speech synthesizer at FLITE_PATH={path!r}: install it with"
                " 'apt-get install flite' (or your system's package), or set FLITE_PATH"
            )
        self._program = found
        self._slots = asyncio.Semaphore(MOST_PROCESSES)

    async def speak(self, text: str, *, voice: str | None) -> Audio:
        """Speak `text`. Text without a letter or digit that flite knows gives a short silence.

        Raises `SynthesisFailed`.
        """
        sayable = plain(text)
        if not any(character.isalnum() for character in sayable):
            return SILENCE
        if len(sayable) > LONGEST_TEXT:
            raise SynthesisFailed(f"text of {len(sayable)} characters; at most {LONGEST_TEXT}")
        async with self._slots:
            return _read_wav(await self._run("-voice", flite_voice(voice), "-t", sayable))

    async def _run(self, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            "-o",
            "/dev/stdout",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                wav, complaint = await process.communicate()
        except TimeoutError:
            raise SynthesisFailed(f"flite took more than {DEADLINE_S:.0f} s") from None
        finally:
            if process.returncode is None:  # the time is over, or the caller has hung up
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise SynthesisFailed(
                f"flite ended with {process.returncode}: {complaint.decode(errors='replace')[:200]}"
            )
        return wav


def flite_voice(voice: str | None) -> str:
    """Return the flite voice for any voice id: always the same one for the same id."""
    if not voice:
        return VOICES[0]
    if voice in NAMED_VOICES:
        return voice
    return VOICES[zlib.crc32(voice.encode()) % len(VOICES)]


def plain(text: str) -> str:
    """Return `text` in ASCII without markup: flite reads bytes, not Unicode."""
    spoken = _MARKUP.sub(" ", text).translate(_TYPOGRAPHY)
    ascii_only = unicodedata.normalize("NFKD", spoken).encode("ascii", "ignore").decode()
    return " ".join(ascii_only.split())


def _read_wav(wav: bytes) -> Audio:
    try:
        with wave.open(io.BytesIO(wav)) as reader:
            return Audio(pcm=reader.readframes(reader.getnframes()), sample_rate=reader.getframerate())
    except (wave.Error, EOFError) as broken:
        raise SynthesisFailed(f"flite wrote no WAV: {broken}") from broken
