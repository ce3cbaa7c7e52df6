"""Shared helpers for providing servers."""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

Tell = Callable[[str], None]
"""Receives a line for the user about the current step."""

VERSION_TIMEOUT_S = 10


class ProvisionError(Exception):
    """A server can't be provided; the message says what to do."""


async def version_of(*command: str) -> tuple[int, ...] | None:
    """Return the first dotted number that `command` prints, as integers; None if there is none."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), VERSION_TIMEOUT_S)
    except (OSError, TimeoutError):
        return None
    found = re.search(rb"(\d+(?:\.\d+)+)", output)
    if process.returncode != 0 or found is None:
        return None
    return tuple(int(part) for part in found[1].decode().split("."))


async def first_on_path(names: Iterable[str], *, at_least: tuple[int, ...], ask: str) -> Path | None:
    """Return the first program of these names on PATH for which `ask` returns a sufficient version."""
    for name in names:
        found = shutil.which(name)
        if found is None:
            continue
        version = await version_of(found, ask)
        if version is not None and version >= at_least:
            return Path(found)
    return None
