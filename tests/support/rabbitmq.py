"""RabbitMQ, as Debian has it: one node with its own folder, ports and port mapper, on loopback only."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from devstack.environment import clean_environment
from devstack.ports import free_port
from devstack.probes import tcp_ready
from devstack.process import Process, ProcessSpec
from devstack.provision.server import ProvisionError

# Debian's own script on PATH changes to the user rabbitmq, who can't write here.
_PROGRAMS: Final = Path("/usr/lib/rabbitmq/bin")
_LOOPBACK: Final = "{127,0,0,1}"


class RabbitServer:
    """A node; `url`: its default virtual host. `process` may be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        dist_port = free_port({self.port})
        self._mapper_port = free_port({self.port, dist_port})
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._env = {
            **clean_environment(),
            "HOME": str(folder),  # where Erlang keeps its cookie
            "RABBITMQ_NODENAME": f"rollcall{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "db"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {_LOOPBACK}",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text("")
        self._mapper = self._process("epmd", ["epmd"], folder, port=self._mapper_port)
        self.process = self._process("rabbitmq", [str(_PROGRAMS / "rabbitmq-server")], folder, port=self.port)

    async def start(self) -> None:
        """Return once it takes connections."""
        await self._mapper.start()
        await self.process.start()

    async def stop(self) -> None:
        """End both; there is nothing to save."""
        for process in (self.process, self._mapper):
            process.kill_group()
            await process.stop()

    async def add_host(self, name: str, *options: str) -> str:
        """Make a virtual host, and return its URL."""
        await self.control("add_vhost", name, *options)
        await self.control("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        return f"{self.url.removesuffix('//')}/{name}"

    async def control(self, *arguments: str) -> str:
        """Run rabbitmqctl, and return what it prints."""
        ctl = await asyncio.create_subprocess_exec(
            *(str(_PROGRAMS / "rabbitmqctl"), "--quiet", *arguments),
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await ctl.communicate()
        assert ctl.returncode == 0, output.decode()
        return output.decode()

    def _process(self, name: str, command: list[str], folder: Path, *, port: int) -> Process:
        spec = ProcessSpec(
            name=name,
            command=command,
            env=self._env,
            cwd=folder,
            log_file=folder / f"{name}.log",
            ready=tcp_ready(port),
            restart=False,
            ready_timeout_s=120,
        )
        return Process(spec, notify=lambda *_: None)


@asynccontextmanager
async def running_rabbitmq() -> AsyncIterator[RabbitServer]:
    """A node that takes connections."""
    if not (_PROGRAMS / "rabbitmq-server").exists() or shutil.which("epmd") is None:
        raise ProvisionError("no RabbitMQ was found: requirements/tests.sh installs it")
    with tempfile.TemporaryDirectory(prefix="rabbitmq-") as folder:
        server = RabbitServer(Path(folder))
        try:
            await server.start()
            yield server
        finally:
            await server.stop()
