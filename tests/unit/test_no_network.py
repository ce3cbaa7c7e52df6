"""Unit tests have no network (conftest.py) and no server, and this machine all the same."""

import asyncio
import socket
from pathlib import Path

import pytest

SERVERS = {"livekit_server", "postgres_server", "rabbitmq", "redis_server", "stack", "start_stack"}


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
async def test_no_other_machine_is_reached(address: str) -> None:
    with pytest.raises(OSError, match="a unit test"):
        await asyncio.open_connection(address, 9)


async def test_names_lead_nowhere() -> None:
    with pytest.raises(socket.gaierror, match="a unit test asks for"):
        await asyncio.get_running_loop().getaddrinfo("example.com", 443)


async def test_this_machine_is_reached() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        assert await reader.read() == b""
        writer.close()


def test_no_unit_test_starts_a_server(request: pytest.FixtureRequest) -> None:
    mine = Path(__file__).parent
    unit = [
        one for one in request.session.items if isinstance(one, pytest.Function) and mine in one.path.parents
    ]
    assert [one.nodeid for one in unit if SERVERS & {*one.fixturenames}] == []
