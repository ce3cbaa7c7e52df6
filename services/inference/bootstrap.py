"""Build the service. Only this module knows which engines there are."""

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web

from services.inference import metrics
from services.inference.auth import Gatekeeper
from services.inference.converse import reply
from services.inference.flite import FliteSynthesizer
from services.inference.llm import Chat
from services.inference.ports import Message, ToolCall, Tools
from services.inference.realtime import Engines, Realtime
from services.inference.routes import build_app
from services.inference.settings import InferenceSettings
from services.inference.silero import SileroDetector
from services.inference.stt import Listen
from services.inference.tts import Speak
from services.inference.use_tools import use_tools
from services.inference.whisper import WhisperTranscriber
from shared.platform.clock import utc_now
from shared.platform.descriptors import most_callers
from shared.platform.http.connections import Connections
from shared.platform.http.listen import listening_socket
from shared.platform.http.site import PatientSite
from shared.platform.logs.logs import get_logger
from shared.platform.threads import in_thread

GRACE_S = 1.0  # for requests that are running when the process is told to stop
MOST_CONNECTIONS = 2000  # each call has about three, and this machine's engines serve far fewer calls

_log = get_logger(__name__)


async def serve(settings: InferenceSettings, *, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. `/readyz` says 503 until the weights are loaded.

    Raises `EngineMissing` if an engine is not installed, `OSError` if the port is taken.
    """
    transcriber = WhisperTranscriber(model_path=settings.whisper_model_path)
    app = _wire(settings, transcriber)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_S)
    await runner.setup()
    loading = asyncio.create_task(_load(transcriber))
    try:
        listening = listening_socket(settings.inference_host, settings.inference_port)
        await PatientSite(runner, listening, Connections(most_callers(MOST_CONNECTIONS))).start()
        _log.info("inference_listening", addresses=[f"{a[0]}:{a[1]}" for a in runner.addresses])
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
        await stopping
    finally:
        loading.cancel()
        await runner.cleanup()
        transcriber.close()
        _log.info("inference_stopped")


def _wire(settings: InferenceSettings, transcriber: WhisperTranscriber) -> web.Application:
    def converse(messages: Sequence[Message], tools: Tools) -> str | ToolCall:
        now = utc_now().astimezone()  # local time
        return use_tools(messages, tools) or reply(messages, now=now)

    synthesizer = FliteSynthesizer(path=settings.flite_path)
    return build_app(
        gatekeeper=Gatekeeper(api_key=settings.livekit_api_key, api_secret=settings.livekit_api_secret),
        chat=Chat(converse=converse, clock=utc_now),
        listen=Listen(
            transcriber=transcriber,
            new_detector=SileroDetector,
            silence_s=settings.inference_silence_s,
            interim_s=settings.inference_interim_s,
        ),
        speak=Speak(synthesizer=synthesizer),
        realtime=Realtime(
            Engines(
                transcriber=transcriber,
                new_detector=SileroDetector,
                silence_s=settings.inference_silence_s,
                converse=converse,
                synthesizer=synthesizer,
            )
        ),
        ready=lambda: transcriber.ready,
    )


async def _load(transcriber: WhisperTranscriber) -> None:
    started = time.perf_counter()
    await transcriber.load()
    await in_thread(SileroDetector)  # the first detector loads the model for all
    seconds = time.perf_counter() - started
    metrics.weights_loaded(seconds)
    _log.info("weights_loaded", seconds=round(seconds, 2))
