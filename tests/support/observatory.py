"""Prometheus and Alertmanager beside a stack, with our rules sped up for tests."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from deploy.grafana.query import Prometheus
from devstack.ports import free_port
from devstack.probes import http_ready
from devstack.process import Process, ProcessSpec
from devstack.stack import Stack
from tests.support.prometheus import program

_MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)([smhd])")


@dataclass
class Observatory:
    """The servers that observe the stack; `told` is what Alertmanager has sent to the receiver."""

    prometheus: Prometheus
    url: str
    jobs: set[str]
    told: list[dict[str, Any]] = field(default_factory=list)

    def alert_told(self, name: str, status: str, **labels: str) -> bool:
        """Return whether the receiver got this alert."""
        return any(
            alert["status"] == status and {"alertname": name, **labels}.items() <= alert["labels"].items()
            for alert in self.told
        )


@asynccontextmanager
async def observing(
    stack: Stack, folder: Path, *, rules: list[Path], faster: int
) -> AsyncIterator[Observatory]:
    """Scrape every process of the stack once a second; the rules' times are `faster` times shorter."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"prometheus": free_port(), "alertmanager": free_port(), "receiver": free_port()}
    url = f"http://127.0.0.1:{ports['prometheus']}"
    observatory = Observatory(Prometheus(url), url, set(stack.metrics_addresses()))
    _write_configurations(stack, folder, ports, rules, faster)
    async with AsyncExitStack() as cleanup:
        await _receive(observatory, ports["receiver"], cleanup)
        for process in (_alertmanager(folder, ports), _prometheus(folder, ports)):
            cleanup.push_async_callback(process.stop)
            await process.start()
        yield observatory
        observatory.prometheus.close()


def hurried(text: str, faster: int) -> str:
    """Return the rules with every window and every `for` shortened."""

    def shorten(match: re.Match[str]) -> str:
        return f"{int(match[1]) * _MILLISECONDS[match[2]] // faster}ms"

    text = re.sub(r"\[[^\]]+\]", lambda window: _DURATION.sub(shorten, window[0]), text)
    return re.sub(r"for: \S+", lambda held: _DURATION.sub(shorten, held[0]), text)


def _write_configurations(
    stack: Stack, folder: Path, ports: dict[str, int], rules: list[Path], faster: int
) -> None:
    for file in rules:
        (folder / file.name).write_text(hurried(file.read_text(), faster))
    prometheus = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [file.name for file in rules],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alertmanager']}"]}]}]
        },
        "scrape_configs": [
            {"job_name": service, "static_configs": [{"targets": targets}]}
            for service, targets in stack.metrics_addresses().items()
        ],
    }
    hook = {"url": f"http://127.0.0.1:{ports['receiver']}/", "send_resolved": True}
    alertmanager = {
        "route": {
            "receiver": "test",
            "group_by": ["alertname"],
            "group_wait": "0s",
            "group_interval": "1s",
        },
        "receivers": [{"name": "test", "webhook_configs": [hook]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager))


async def _receive(observatory: Observatory, port: int, cleanup: AsyncExitStack) -> None:
    async def take(request: web.Request) -> web.Response:
        observatory.told += (await request.json())["alerts"]
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    cleanup.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()


def _prometheus(folder: Path, ports: dict[str, int]) -> Process:
    address = f"127.0.0.1:{ports['prometheus']}"
    return _process(
        "prometheus",
        [
            program("prometheus"),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--enable-feature=exemplar-storage",
            f"--web.listen-address={address}",
        ],
        folder,
        f"http://{address}/-/ready",
    )


def _alertmanager(folder: Path, ports: dict[str, int]) -> Process:
    address = f"127.0.0.1:{ports['alertmanager']}"
    return _process(
        "alertmanager",
        [
            program("alertmanager", "prometheus-alertmanager"),
            "--config.file=alertmanager.yml",
            "--storage.path=alerts",
            "--cluster.listen-address=",
            f"--web.listen-address={address}",
        ],
        folder,
        f"http://{address}/-/ready",
    )


def _process(name: str, command: list[str], folder: Path, ready: str) -> Process:
    spec = ProcessSpec(
        name=name,
        command=command,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
        log_file=folder / f"{name}.log",
        ready=http_ready(ready),
        restart=False,
    )
    return Process(spec, notify=lambda *_: None)
