"""Light joiners as processes beside a stack, and the events that they print."""

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.options import BenchFailed
from devstack.process import Probe, Process, ProcessSpec, describe_exit
from devstack.services import REPOSITORY
from devstack.stack import Stack


@dataclass
class _Log:
    path: Path
    offset: int = 0
    rest: bytes = b""

    def read(self) -> list[dict[str, object]]:
        """The events written since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = self.rest + file.read()
            self.offset = file.tell()
        *lines, self.rest = data.split(b"\n")
        # The SDK's native part writes lines of its own.
        return [json.loads(line) for line in lines if line.startswith(b'{"event"')]


@dataclass
class Stay:
    """An agent's time in a room, in wall-clock seconds; `left` is None while it lasts."""

    joined: float
    left: float | None = None


@dataclass
class Joiners:
    """The running joiners of one agent name, and their stays by room and job."""

    processes: list[Process]
    stays: dict[str, dict[str, Stay]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _logs: list[_Log] = field(default_factory=list)

    def refresh(self) -> None:
        """Read the joiners' events since the last call; raises `BenchFailed` if a joiner has died."""
        if not self._logs:
            self._logs = [_Log(process.spec.log_file) for process in self.processes]
        for event in [event for log in self._logs for event in log.read()]:
            kind, room, job = (str(event.get(key, "")) for key in ("event", "room", "job"))
            at = float(str(event["at"]))
            self.counts[kind] += 1
            if kind == "joined":
                self.stays.setdefault(room, {})[job] = Stay(at)
            elif kind == "left" and job in self.stays.get(room, {}):
                self.stays[room][job].left = at
        for process in self.processes:
            if process.exit_code is not None:
                end = "\n".join(process.log().splitlines()[-10:])
                raise BenchFailed(f"{process.spec.name} died, {describe_exit(process.exit_code)}:\n{end}")

    def joined_at(self, room: str) -> float | None:
        """Return when an agent first joined this room, in wall-clock seconds."""
        return min((stay.joined for stay in self.stays.get(room, {}).values()), default=None)

    def doubles(self, rooms: Iterable[str]) -> int:
        """Return in how many of these rooms two agents were at the same time."""
        return sum(_overlap(list(self.stays.get(room, {}).values())) for room in rooms)

    def replaced(self, rooms: Iterable[str]) -> int:
        """Return how many of these rooms more than one agent has joined, even if one after the other."""
        return sum(len(self.stays.get(room, {})) > 1 for room in rooms)


def _overlap(stays: list[Stay]) -> bool:
    stays.sort(key=lambda stay: stay.joined)
    return any(
        first.left is None or second.joined < first.left for first, second in itertools.pairwise(stays)
    )


@asynccontextmanager
async def running_joiners(
    stack: Stack,
    *,
    agent_name: str = "light",
    workers: int = 1,
    slots: int = 100,
    hold_s: float | None = None,
    behaviour: str = "serve",
    ours: bool = True,
    label: str = "",
    env: Mapping[str, str] | None = None,
    through: Sequence[str] = (),
) -> AsyncIterator[Joiners]:
    """Run joiners until the block ends; the block begins once LiveKit has registered each of them.

    `label` keeps the logs of several groups of one agent name apart. `through` is a command that runs them.
    """
    name = f"joiner-{label or agent_name}"
    processes = [
        Process(
            ProcessSpec(
                name=f"{name}-{number}",
                command=[*through, *_command(agent_name, slots, hold_s, behaviour, ours=ours)],
                # At each connection the SDK runs `lsb_release` if it finds it; without it, a connection costs
                # less.
                env={**stack.env, "PYTHONPATH": str(REPOSITORY), "PATH": "/nowhere", **(env or {})},
                cwd=stack.state,
                log_file=stack.logs / f"{name}-{number}.log",
                ready=_registered(stack.logs / f"{name}-{number}.log", ours=ours),
                restart=False,
                stop_grace_s=3.0,
            ),
            notify=lambda name, what: print(f"  {name}: {what}", flush=True),
        )
        for number in range(1, workers + 1)
    ]
    try:
        for process in processes:
            # Skip the events of an earlier joiner of this name.
            process.spec.log_file.unlink(missing_ok=True)
        await asyncio.gather(*(process.start() for process in processes))
        yield Joiners(processes)
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


def _registered(log: Path, *, ours: bool) -> Probe:
    reader = _Log(log)
    wanted = {"registered", "addressed"} if ours else {"registered"}
    seen: set[str] = set()

    async def probe(_: int) -> bool:
        seen.update(str(event["event"]) for event in reader.read())
        return wanted <= seen

    return probe


def _command(agent_name: str, slots: int, hold_s: float | None, behaviour: str, *, ours: bool) -> list[str]:
    return [
        sys.executable,
        "-m",
        "bench.joiner",
        f"--agent-name={agent_name}",
        f"--slots={slots}",
        f"--behaviour={behaviour}",
        *([f"--hold={hold_s}"] if hold_s is not None else []),
        *(["--ours"] if ours else []),
    ]
