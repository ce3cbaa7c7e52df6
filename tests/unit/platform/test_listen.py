"""A server listens where it is told to: an address of either family, or all of both."""

import socket
from typing import Any

import pytest

from services.api.settings import ApiSettings
from services.inference.settings import InferenceSettings
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.settings import Settings
from shared.platform.http.listen import listening_socket

LIVEKIT: dict[str, Any] = {"livekit_url": "ws://x", "livekit_api_key": "k", "livekit_api_secret": "s" * 32}


def families() -> list[str]:
    return ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]


def test_all_addresses_are_those_of_both_families() -> None:
    with listening_socket("::", 0) as listening:
        for host in families():
            socket.create_connection((host, listening.getsockname()[1]), timeout=10).close()


@pytest.mark.parametrize("host", [*families(), "localhost"])
def test_one_address_is_that_one(host: str) -> None:
    with listening_socket(host, 0) as listening:
        socket.create_connection(listening.getsockname()[:2], timeout=10).close()


def test_a_port_that_is_taken_is_named() -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"can't listen on 127\.0\.0\.1, port {port}: "):
            listening_socket("127.0.0.1", port)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(ApiSettings, "api"), (InferenceSettings, "inference"), (TranscriptsSettings, "probe")],
)
def test_port_is_read_where_nothing_more_exact_is_set(
    kind: type[Settings], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LIVEKIT.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.delenv(f"{field.upper()}_PORT", raising=False)
    monkeypatch.setenv("PORT", "7001")
    assert getattr(kind(), f"{field}_port") == 7001
    monkeypatch.setenv(f"{field.upper()}_PORT", "7002")
    assert getattr(kind(), f"{field}_port") == 7002


def test_an_address_may_stand_in_brackets_as_in_a_url() -> None:
    assert ApiSettings(**LIVEKIT, api_host="[::1]").api_host == "::1"
