"""Chromium with a fake microphone that says a sentence again and again."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from cli.call.voice import SAMPLE_RATE, synthesise, write_wav

# The silence before and after the sentence: for connecting, and for the answer.
_PAUSE_S = 3.0


def chromium_program() -> str:
    """Return the machine's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "Chromium is missing: requirements/tests.sh installs it"
    return program


@asynccontextmanager
async def chromium_saying(sentence: str, *, folder: Path) -> AsyncIterator[Browser]:
    """Yield the machine's Chromium. When a page opens the microphone, it hears the sentence, with pauses."""
    recorded = folder / "sentence.wav"
    silence = bytes(int(2 * SAMPLE_RATE * _PAUSE_S))
    write_wav(recorded, silence + await synthesise(sentence) + silence)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_program(),
            args=[
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={recorded}",
                "--autoplay-policy=no-user-gesture-required",
                "--no-sandbox",  # CI runs as root, and the pages are ours
            ],
        )
        try:
            yield browser
        finally:
            await browser.close()
