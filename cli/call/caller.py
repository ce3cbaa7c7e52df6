"""A synthetic caller: joins a room as a person would, speaks, and listens to the agent."""

import asyncio
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Final, Self

import numpy as np
from livekit import rtc

from cli.call.voice import BYTES_PER_SECOND, SAMPLE_RATE, synthesise
from shared.contracts.keys import LIVEKIT_AGENT_STATE_ATTRIBUTE

BUSY_STATES: Final = frozenset({"initializing", "thinking", "speaking"})

FRAME_SAMPLES: Final = SAMPLE_RATE // 50  # 20 ms
# Kept short, so that the next sentence starts at once.
QUEUE_MS: Final = 100
# Louder than silence after the codec, and far below the softest speech.
SPEECH_RMS: Final = 150.0
# Longer than the pauses between an agent's sentences.
QUIET_S: Final = 1.0
POLL_S: Final = 0.05
SAY_SLACK_S: Final = 10.0


class AgentSilent(Exception):
    """The agent was not heard in time, or did not stop speaking in time."""


class Caller:
    """A caller. An asynchronous context manager: enter to join, leave to hang up.

    `heard` is the agent's audio so far, PCM at `SAMPLE_RATE`, including silence.
    """

    def __init__(self, *, server_url: str, token: str) -> None:
        self._server_url = server_url
        self._token = token
        self._room: rtc.Room | None = None
        self._source: rtc.AudioSource | None = None
        self._to_say = bytearray()
        self._all_said = asyncio.Event()
        self._all_said.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn_began = 0.0
        self._voice_began: float | None = None
        self._last_voice = 0.0
        self.heard = bytearray()

    async def __aenter__(self) -> Self:
        """Join."""
        await self.join()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up."""
        await self.leave()

    async def join(self) -> None:
        """Connect and open the microphone; raises `livekit.rtc.ConnectError`."""
        self._room = rtc.Room()
        self._room.on("track_subscribed", self._on_track)
        await self._room.connect(self._server_url, self._token)
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=QUEUE_MS)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(track, options)
        self._spawn(self._keep_the_line_open(self._source), "caller-microphone")
        self._turn_began = time.monotonic()

    async def leave(self) -> None:
        """Hang up; safe to call again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        room, self._room = self._room, None
        source, self._source = self._source, None
        if room is not None:
            await room.disconnect()
        if source is not None:
            await source.aclose()

    async def say(self, speech: str | bytes) -> None:
        """Say a sentence, or PCM at `SAMPLE_RATE`; return when all of it was sent.

        Raises `TimeoutError` if the room doesn't accept the audio, `VoiceMissing` without a synthesiser.
        """
        pcm = await synthesise(speech) if isinstance(speech, str) else speech
        self._to_say += pcm
        self._all_said.clear()
        async with asyncio.timeout(len(pcm) / BYTES_PER_SECOND + SAY_SLACK_S):
            await self._all_said.wait()
        # Everything heard from here on counts as the answer.
        self._turn_began = time.monotonic()
        self._voice_began = None

    async def wait_until_agent_quiet(self, timeout_s: float = 30.0, *, quiet_s: float = QUIET_S) -> float:
        """Wait until the agent has answered the last sentence (at first: has greeted) and is quiet.

        Returns the seconds until the agent was heard. Raises `AgentSilent`.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            now = time.monotonic()
            began = self._voice_began
            if (
                began is not None
                and now - self._last_voice >= quiet_s
                and self.agent_state not in BUSY_STATES
            ):
                return began - self._turn_began
            await asyncio.sleep(POLL_S)
        what = "did not come to an end" if self._voice_began is not None else "was not heard"
        raise AgentSilent(f"the agent {what} within {timeout_s:.0f} s; its state: {self.agent_state}")

    @property
    def agents(self) -> list[rtc.RemoteParticipant]:
        """The agents in the room."""
        if self._room is None:
            return []
        kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        return [p for p in self._room.remote_participants.values() if p.kind == kind]

    @property
    def agent_state(self) -> str | None:
        """The state that the agent shows: initializing, listening, thinking, speaking.

        None without an agent.
        """
        states = (agent.attributes.get(LIVEKIT_AGENT_STATE_ATTRIBUTE) for agent in self.agents)
        return next(filter(None, states), None)

    @property
    def connected(self) -> bool:
        """Whether the caller is in the room, and the room is open."""
        return self._room is not None and self._room.isconnected()

    @property
    def heard_seconds(self) -> float:
        """Seconds of audio from the agent, including silence."""
        return len(self.heard) / BYTES_PER_SECOND

    async def _keep_the_line_open(self, source: rtc.AudioSource) -> None:
        # A microphone sends all the time: only the silence after a sentence shows that it has ended.
        size = 2 * FRAME_SAMPLES
        while True:
            frame = bytes(self._to_say[:size])
            del self._to_say[:size]
            audio = rtc.AudioFrame(frame.ljust(size, b"\0"), SAMPLE_RATE, 1, FRAME_SAMPLES)
            await source.capture_frame(audio)
            if not self._to_say:
                self._all_said.set()

    def _on_track(
        self, track: rtc.Track, _: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        is_agent = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        if is_agent and track.kind == rtc.TrackKind.KIND_AUDIO:
            self._spawn(self._listen(track), "caller-ear")

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        try:
            async for event in stream:
                pcm = bytes(event.frame.data)
                self.heard += pcm
                if _rms(pcm) >= SPEECH_RMS:
                    self._last_voice = time.monotonic()
                    self._voice_began = self._voice_began or self._last_voice
        finally:
            await stream.aclose()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _rms(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    return float(np.sqrt(np.mean(samples * samples))) if len(samples) else 0.0
