"""A real inference process, and the unmodified clients of livekit-agents that talk with it."""

import asyncio
import base64
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import (
    APIConnectOptions,
    inference,
    llm,
    utils,
)
from livekit.agents.inference._utils import create_access_token

from devstack.ports import free_port

ROOT = Path(__file__).parents[3]
KEY, SECRET = "devkey", "a-secret-of-thirty-two-characters"
ONCE = APIConnectOptions(max_retry=0, timeout=10)


@dataclass(frozen=True)
class Server:
    """A running inference process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, Any]:
        return {"base_url": f"{self.origin}/v1", "api_key": KEY, "api_secret": SECRET}


@contextlib.contextmanager
def running_process(folder: Path, **environment: str) -> Iterator[Server]:
    port, log = free_port(), folder / "inference.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.inference"],
            cwd=folder,  # no .env of the checkout
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "LIVEKIT_API_KEY": KEY,
                "LIVEKIT_API_SECRET": SECRET,
                "INFERENCE_PORT": str(port),
                "LOG_FORMAT": "json",
                **environment,
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, port, log)
    finally:
        process.kill()
        process.wait()


async def until_ready(server: Server) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            assert server.process.poll() is None, server.log.read_text()
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(f"{server.origin}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def closing(thing: Any) -> AsyncIterator[Any]:
    try:
        yield thing
    finally:
        await thing.aclose()


async def spoken(tts: inference.TTS, text: str) -> rtc.AudioFrame:
    stream = tts.stream(conn_options=ONCE)
    stream.push_text(text)
    stream.end_input()
    async with stream:
        return utils.combine_frames([event.frame async for event in stream])


def make_tts(server: Server, model: str = "cartesia/sonic-3", **options: Any) -> inference.TTS:
    return inference.TTS(model, **server.credentials, **options)


def make_stt(server: Server, model: str = "deepgram/nova-3", **options: Any) -> inference.STT:
    return inference.STT(model, **server.credentials, **options)


def open_http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {create_access_token(KEY, SECRET)}"})


@contextlib.asynccontextmanager
async def open_socket(
    server: Server, path: str, model: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{server.origin}/v1/{path}"
    async with open_http() as http, http.ws_connect(url, params={"model": model}) as ws:
        yield ws


def b64(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()


async def ask(model: inference.LLM, context: llm.ChatContext) -> tuple[str, int, llm.CompletionUsage | None]:
    """Return the text of a completion, in how many pieces it came, and its usage."""
    pieces, usage = [], None
    async with model.chat(chat_ctx=context, conn_options=ONCE) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                pieces.append(chunk.delta.content)
            usage = chunk.usage or usage
    return "".join(pieces), len(pieces), usage
