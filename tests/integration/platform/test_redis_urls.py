"""REDIS_URL and BROKER_URL in every form, against a real server: all clients accept the same URLs."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import tcp_ready
from devstack.process import Process, ProcessSpec
from devstack.provision.redis import find_redis_server
from shared.contracts.keys import DISPATCH_QUEUE, DISPATCH_TASK
from shared.platform.celery.tasks import TaskSender, make_celery
from shared.platform.redis.client import connect_redis
from tests.support import bad_server as bad
from tests.support.bad_server import bad_server
from tests.support.certificates import Certificate, make_certificate

REFUSED = (RedisError, KombuError, OSError)
# Far above every limit of a client.
HANGS_S = 60


@dataclass(frozen=True)
class Server:
    """A Redis with a password, on a port, on a socket, and on a port with TLS."""

    port: int
    socket: Path
    tls_port: int
    certificate: Certificate


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("r")
    port, socket, certificate = free_port(), folder / "r.sock", make_certificate(folder)
    command = [str(await find_redis_server()), "--port", str(port), "--unixsocket", str(socket)]
    spec = ProcessSpec(
        name="redis",
        command=[*command, "--requirepass", "p/w", "--save", "", "--dir", str(folder)],
        env=clean_environment(),
        cwd=folder,
        log_file=folder / "redis.log",
        ready=tcp_ready(port),
    )
    process = Process(spec, notify=lambda *_: None)
    await process.start()
    async with tls_before(port, certificate) as tls_port:
        yield Server(port, socket, tls_port, certificate)
    await process.stop()


@asynccontextmanager
async def tls_before(port: int, certificate: Certificate) -> AsyncIterator[int]:
    """A port that takes TLS off, as a proxy before Redis does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    passing: set[asyncio.Task[None]] = set()

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        passing.update(asyncio.create_task(pass_on(*pair)) for pair in ((reader, ours), (theirs, writer)))

    listening = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    yield int(listening.sockets[0].getsockname()[1])
    listening.close()
    for task in passing:
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)


async def by_redis_py(url: str) -> None:
    client = connect_redis(url)
    try:
        async with asyncio.timeout(HANGS_S):
            assert await client.ping()
    finally:
        await client.aclose()


async def by_kombu(url: str) -> None:
    sender = TaskSender(make_celery("tests", url))
    try:
        async with asyncio.timeout(HANGS_S):
            await sender.ping()
            await sender.send(DISPATCH_TASK, ["s1"])
    finally:
        sender.close()


Client = Callable[[str], Awaitable[None]]
CLIENTS: list[Client] = [by_redis_py, by_kombu]

URLS = [
    "redis://:p%2Fw@127.0.0.1:{port}/3",
    "redis://default:p%2Fw@127.0.0.1:{port}?db=3",
    "redis://:p/w@127.0.0.1:{port}/3",
    "valkey://:p%2Fw@localhost:{port}/3?socket_timeout=5&socket_connect_timeout=3&health_check_interval=30",
    "unix://:p%2Fw@{socket}?db=3&client_name=calls",
    "redis+socket://:p%2Fw@{socket}?virtual_host=3",
    "rediss://:p%2Fw@127.0.0.1:{tls_port}/3?ssl_ca_certs={ca}",
    "rediss://:p%2Fw@localhost:{tls_port}/3?ssl_ca_certs={ca}&socket_timeout=5",
    "rediss://:p%2Fw@127.0.0.1:{tls_port}/3?ssl_cert_reqs=none",
    "valkeys://:p%2Fw@127.0.0.1:{tls_port}/3?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}",
]


def fill(url: str, server: Server) -> str:
    ca = server.certificate.authority
    return url.format(port=server.port, socket=server.socket, tls_port=server.tls_port, ca=ca)


@pytest.mark.parametrize("url", URLS)
async def test_a_url_leads_every_client_to_the_same_database(server: Server, url: str) -> None:
    asked = connect_redis(fill(URLS[0], server))
    await asked.delete(DISPATCH_QUEUE)
    for client in CLIENTS:
        await client(fill(url, server))
    assert await asked.llen(DISPATCH_QUEUE) == 1
    await asked.aclose()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("options", ["", "?ssl_ca_certs={stranger}", "?ssl_check_hostname=false"])
async def test_a_certificate_of_an_unknown_authority_is_refused_by_every_client(
    server: Server, client: Client, options: str, tmp_path: Path
) -> None:
    options = options.format(stranger=make_certificate(tmp_path).authority)
    with pytest.raises(REFUSED):
        await client(f"rediss://:p%2Fw@127.0.0.1:{server.tls_port}/3{options}")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("behaviour", [*bad.SILENT, bad.HTML, bad.HANGS_UP])
async def test_a_redis_that_never_answers_is_not_waited_for(client: Client, behaviour: str) -> None:
    async with bad_server(behaviour) as server:
        with pytest.raises(REFUSED):
            await client(server.url("redis", "/0"))


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs={stranger}"])
async def test_a_rabbitmq_with_a_certificate_of_an_unknown_authority_is_refused(
    server: Server, options: str, tmp_path: Path
) -> None:
    options = options.format(stranger=make_certificate(tmp_path).authority)
    with pytest.raises(REFUSED, match="certificate verify failed"):
        await by_kombu(f"amqps://127.0.0.1:{server.tls_port}//{options}")
