"""Host names whose name server never answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

HANGING: Final = "hangs.example"


@contextmanager
def hanging_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """While the block runs, every name below `HANGING` hangs; yield the names that were looked up."""
    real = socket.getaddrinfo
    over = threading.Event()
    asked: list[str] = []

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if not str(host).endswith(HANGING):
            return real(host, *arguments, **options)
        asked.append(str(host))
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        yield asked
    finally:
        over.set()
