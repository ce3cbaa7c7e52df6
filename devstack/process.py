"""One supervised process: started on request, ready when its probe says so, and never left behind."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Probe = Callable[[int], Awaitable[bool]]
"""Takes the process id, and returns whether the process is ready for work."""

Notify = Callable[[str, str], None]
"""Receives a process's name, and a line about what the supervisor does with it."""

PROBE_INTERVAL_S: Final = 0.1
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 10.0
# After a process has run this long, its next restart uses the shortest back-off.
HEALTHY_AFTER_S: Final = 30.0
# The exit code of shared.platform.config for a bad configuration, which a restart would not fix.
EXIT_BAD_CONFIGURATION: Final = 2


class StartFailed(Exception):
    """A process did not become ready. The message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """What to run, and how to start and stop it.

    `after` names processes that must be ready first; they are stopped only after this one. `outlived_by`
    names more processes that are stopped only after this one. A `one_shot` process is ready once it has ended
    with exit code 0. `stop_signal` asks the main process to end; after `stop_grace_s` its whole group is
    killed.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log_file: Path
    ready: Probe | None = None
    after: tuple[str, ...] = ()
    outlived_by: tuple[str, ...] = ()
    one_shot: bool = False
    restart: bool = True
    ready_timeout_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 5.0


class Process:
    """Runs one `ProcessSpec` in a process group of its own. The process dies with us, however we die."""

    def __init__(self, spec: ProcessSpec, *, notify: Notify) -> None:
        self.spec = spec
        self.restarts = 0
        self._notify = notify
        self._running: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        """The main process's id while it runs, else None."""
        return self._running.pid if self._running and self._running.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run; None while it runs or if there was none. Negative means a signal."""
        return self._running.returncode if self._running else None

    def log(self) -> str:
        """Everything that the process has written, across all restarts."""
        return self.spec.log_file.read_text(errors="replace") if self.spec.log_file.exists() else ""

    async def start(self) -> None:
        """Start, and return once ready; raises `StartFailed`."""
        if self.pid is not None:
            return
        self._was_ready = False
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_running(), name=f"watch-{self.spec.name}")
        try:
            await self.wait_ready()
        except StartFailed:
            await self.stop()
            raise
        self._was_ready = True
        if self._watch.done():  # it ended just after it was ready
            self._watch = asyncio.create_task(self._keep_running(), name=f"watch-{self.spec.name}")

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the probe succeeds; raises `StartFailed`."""
        deadline = time.monotonic() + (timeout_s or self.spec.ready_timeout_s)
        while time.monotonic() < deadline:
            pid = self.pid
            if pid is None and self.spec.one_shot and self.exit_code == 0:
                return
            if pid is None and not self._was_ready:
                raise self._start_failed(f"ended with {describe_exit(self.exit_code)} before it was ready")
            if pid is not None and not self.spec.one_shot and await self._probe(pid):
                return
            await asyncio.sleep(PROBE_INTERVAL_S)
        raise self._start_failed("was not ready in time")

    async def stop(self) -> None:
        """Ask the process to end, wait for the grace period, then kill the rest of its group."""
        self._forget_watch()
        process = self._running
        if process is None:
            return
        if process.returncode is None:
            self.thaw()  # a frozen process would not notice the request
            self._signal_main(self.spec.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self.spec.stop_grace_s)
            except TimeoutError:
                self._notify(self.spec.name, f"still there after {self.spec.stop_grace_s:.0f} s: killed")
        self.kill_group()
        await process.wait()

    def kill(self, sig: signal.Signals = signal.SIGKILL, *, group: bool = False) -> None:
        """Send a signal to the main process (or its group), to cause a fault; a restart may follow."""
        if group:
            self._signal_group(sig)
        else:
            self._signal_main(sig)

    async def wait_exit(self) -> int:
        """Wait until the current run has ended, and return its exit code."""
        if self._running is None:
            raise RuntimeError(f"{self.spec.name} was never started")
        return await self._running.wait()

    def freeze(self) -> None:
        """Freeze the whole group (SIGSTOP)."""
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen group."""
        self._signal_group(signal.SIGCONT)

    def kill_group(self) -> None:
        """Kill the whole group at once, without a restart."""
        self._forget_watch()
        self._signal_group(signal.SIGKILL)

    async def _spawn(self) -> None:
        self.spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log_file.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *_dying_with_us(self.spec.command),
                env=dict(self.spec.env),
                cwd=self.spec.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _keep_running(self) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            started = time.monotonic()
            code = await self.wait_exit()
            if self.spec.one_shot or not self._was_ready:
                return
            # Children of a dead main process must not run beside those of the next one.
            self._signal_group(signal.SIGKILL)
            if not self.spec.restart or code == EXIT_BAD_CONFIGURATION:
                self._notify(self.spec.name, f"ended with {describe_exit(code)}; not restarted")
                return
            if time.monotonic() - started > HEALTHY_AFTER_S:
                backoff = FIRST_BACKOFF_S
            self._notify(self.spec.name, f"ended with {describe_exit(code)}; restart in {backoff:.1f} s")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)
            self.restarts += 1
            await self._spawn()

    async def _probe(self, pid: int) -> bool:
        return self.spec.ready is None or await self.spec.ready(pid)

    def _start_failed(self, what: str) -> StartFailed:
        end = "\n".join(f"    {line}" for line in self.log().splitlines()[-15:])
        return StartFailed(f"{self.spec.name} {what}; the end of {self.spec.log_file}:\n{end}")

    def _forget_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _signal_main(self, sig: signal.Signals) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def _signal_group(self, sig: signal.Signals) -> None:
        if self._running is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, sig)


def describe_exit(code: int | None) -> str:
    """Describe an exit code in words."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _dying_with_us(command: Sequence[str]) -> Sequence[str]:
    # util-linux's setpriv sets PR_SET_PDEATHSIG, and then becomes the command. A preexec_fn would run Python
    # between fork and exec, which is unsafe once there are threads.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else command
