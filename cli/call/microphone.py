"""`rollcall call --mic`: call with this machine's microphone and loudspeaker."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from livekit import rtc
from livekit.rtc.media_devices import OutputPlayer
from rich.text import Text

from cli.call.conversation import END_TIMEOUT_S, Outcome
from cli.client.answers import Caption
from cli.client.client import Client
from cli.render.timeline import Timeline


class NoMicrophone(Exception):
    """This machine has no usable microphone; the message says what is missing."""


def open_devices() -> rtc.MediaDevices:
    """Open this machine's audio devices; raises `NoMicrophone`."""
    try:
        import sounddevice
    # an OSError means that the library is installed and PortAudio is not
    except (ImportError, OSError) as missing:
        raise NoMicrophone(
            f"no microphone: {missing}\ninstall PortAudio (apt-get install libportaudio2, or brew install"
            " portaudio) and the Python package sounddevice; or give the sentences to say"
        ) from None
    try:
        sounddevice.query_devices(kind="input")
        sounddevice.query_devices(kind="output")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise NoMicrophone(
            f"no microphone or no loudspeaker: {error}\nplug one in, or give the sentences to say"
        ) from None
    return rtc.MediaDevices()


class Person:
    """A person at this machine as the caller. Enter to join, leave to hang up."""

    def __init__(self, devices: rtc.MediaDevices, *, server_url: str, token: str) -> None:
        self._devices = devices
        self._server_url = server_url
        self._token = token
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Join; raises `livekit.rtc.ConnectError`."""
        async with AsyncExitStack() as undo:
            # Opened in this order, so that the loudspeaker's sound can be removed from the microphone's.
            microphone = self._devices.open_input(enable_aec=True)
            undo.push_async_callback(microphone.aclose)
            player = self._devices.open_output()
            undo.push_async_callback(player.aclose)
            room = rtc.Room()
            room.on("track_subscribed", lambda track, *_: self._play(player, track))
            await room.connect(self._server_url, self._token)
            undo.push_async_callback(room.disconnect)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", microphone.source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await room.local_participant.publish_track(track, options)
            await player.start()
            self._stack = undo.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up."""
        await self._stack.aclose()

    def _play(self, player: OutputPlayer, track: rtc.Track) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._spawn(player.add_track(track))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def talk(
    client: Client,
    *,
    show: Callable[[Text], None],
    caption: Callable[[Caption], None],
    agent_name: str | None = None,
) -> Outcome:
    """Call, and talk until Ctrl-C or the session's end.

    Raises `NoMicrophone` before anything is started, `ApiError`, and `livekit.rtc.ConnectError`.
    """
    devices = open_devices()
    started = await client.start_session(agent_name=agent_name)
    timeline = Timeline(client, started.session_id, show=show, caption=caption)
    async with timeline.following():
        with _hanging_up() as hung_up:
            async with Person(devices, server_url=started.server_url, token=started.participant_token):
                show(Text("speak; Ctrl-C hangs up", style="cyan"))
                waits = [asyncio.create_task(event.wait()) for event in (hung_up, timeline.over)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        if not await timeline.wait_until_over(END_TIMEOUT_S):
            await client.end_session(started.session_id)
            await timeline.wait_until_over(END_TIMEOUT_S)
    return Outcome(started.session_id, timeline, [], None, [])


@contextmanager
def _hanging_up() -> Iterator[asyncio.Event]:
    """Yield an event that Ctrl-C sets; within the block, Ctrl-C does nothing else."""
    hung_up = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, hung_up.set)
    try:
        yield hung_up
    finally:
        loop.remove_signal_handler(signal.SIGINT)
