"""The supervisor: order, restarts, faults, and no process left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from devstack.process import Process, ProcessSpec, StartFailed
from devstack.supervise import Supervisor
from tests.stack_fixtures.waiting import eventually

# Reports that it runs, then runs the rest of the program.
_HELLO = "import os, signal, sys, time, pathlib; print('hello', os.getpid(), flush=True); "
_FOREVER = _HELLO + "time.sleep(600)"


class Notices(list[tuple[str, str]]):
    """What the supervisor said."""

    def __call__(self, name: str, message: str) -> None:
        self.append((name, message))


def _spec(folder: Path, name: str = "dummy", program: str = _FOREVER, **fields: object) -> ProcessSpec:
    log = folder / f"{name}.log"

    async def said_hello(pid: int) -> bool:
        return f"hello {pid}" in log.read_text()

    defaults: dict[str, object] = {
        "name": name,
        "command": [sys.executable, "-c", program],
        "env": {"PATH": os.environ["PATH"]},
        "cwd": folder,
        "log_file": log,
        "ready": said_hello,
    }
    return ProcessSpec(**{**defaults, **fields})  # type: ignore[arg-type]


async def test_a_process_is_ready_when_its_probe_says_so_and_gone_after_stop(tmp_path: Path) -> None:
    process = Process(_spec(tmp_path), notify=Notices())
    await process.start()
    pid = process.pid
    assert pid is not None
    assert f"hello {pid}" in process.log()
    await process.stop()
    assert process.pid is None
    assert not psutil.pid_exists(pid)
    await process.stop()  # a second time changes nothing


async def test_a_process_that_ends_early_fails_the_start_with_the_end_of_its_log(tmp_path: Path) -> None:
    spec = _spec(tmp_path, program="print('no such port'); raise SystemExit(3)")
    with pytest.raises(StartFailed, match=r"exit code 3(.|\n)*no such port"):
        await Process(spec, notify=Notices()).start()


async def test_a_process_that_is_never_ready_fails_the_start_and_is_killed(tmp_path: Path) -> None:
    process = Process(
        _spec(tmp_path, program="import time; time.sleep(600)", ready_timeout_s=0.5), notify=Notices()
    )
    with pytest.raises(StartFailed, match="not ready in time"):
        await process.start()
    assert process.pid is None


async def test_a_one_shot_is_ready_when_it_has_ended_well(tmp_path: Path) -> None:
    process = Process(_spec(tmp_path, program="print('done')", one_shot=True), notify=Notices())
    await process.start()
    assert process.exit_code == 0
    with pytest.raises(StartFailed):
        await Process(_spec(tmp_path, program="raise SystemExit(1)", one_shot=True), notify=Notices()).start()


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    notices = Notices()
    process = Process(_spec(tmp_path), notify=notices)
    await process.start()
    first = process.pid
    process.kill()
    await eventually(lambda: process.pid not in (None, first))
    await process.wait_ready()
    assert process.restarts == 1
    assert notices == [("dummy", "ended with SIGKILL; restart in 0.5 s")]
    await process.stop()


@pytest.mark.parametrize(
    ("exit_code", "restart"), [(1, False), (2, True)], ids=["not wanted", "bad configuration"]
)
async def test_no_restart(tmp_path: Path, exit_code: int, restart: bool) -> None:
    program = (
        f"import os, signal; signal.signal(signal.SIGUSR1, lambda *_: os._exit({exit_code})); " + _FOREVER
    )
    notices = Notices()
    process = Process(_spec(tmp_path, program=program, restart=restart), notify=notices)
    await process.start()
    process.kill(signal.SIGUSR1)
    await eventually(lambda: bool(notices))
    assert notices == [("dummy", f"ended with exit code {exit_code}; not restarted")]
    await process.stop()


async def test_stop_asks_the_main_process_alone_then_kills_the_group(tmp_path: Path) -> None:
    """Group-wide SIGTERM would kill an agent's running calls."""
    child = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('child asked', flush=True)); "
        "print('child up', flush=True); time.sleep(600)"
    )
    program = (
        "import os, signal, subprocess, sys; "
        "signal.signal(signal.SIGTERM, lambda *_: (print('main asked', flush=True), os._exit(0))); "
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); " + _FOREVER
    )
    process = Process(_spec(tmp_path, program=program), notify=Notices())
    await process.start()
    await eventually(lambda: "child up" in process.log())
    assert process.pid is not None
    [child_process] = psutil.Process(process.pid).children()
    await process.stop()
    await eventually(lambda: _is_gone(child_process.pid))
    assert "main asked" in process.log()
    assert "child asked" not in process.log()


async def test_a_process_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    notices = Notices()
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _FOREVER
    process = Process(_spec(tmp_path, program=program, stop_grace_s=0.3), notify=notices)
    await process.start()
    await process.stop()
    assert process.exit_code == -signal.SIGKILL
    assert notices == [("dummy", "still there after 0 s: killed")]


async def test_a_frozen_process_goes_on_when_thawed_and_can_be_stopped_while_frozen(tmp_path: Path) -> None:
    program = _HELLO + "[print('tick', flush=True) or time.sleep(0.01) for _ in range(60000)]"
    process = Process(_spec(tmp_path, program=program), notify=Notices())
    await process.start()
    assert process.pid is not None
    process.freeze()
    await eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    ticks = process.log().count("tick")
    process.thaw()
    await eventually(lambda: process.log().count("tick") > ticks)
    process.freeze()
    await process.stop()
    assert process.exit_code == -signal.SIGTERM


async def test_processes_start_after_those_they_need_and_stop_before_them(tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = (
        "import pathlib, signal, sys, time, os\n"
        f"note = lambda what: open({str(order)!r}, 'a').write(f'{{what}} {{sys.argv[1]}}\\n')\n"
        "signal.signal(signal.SIGTERM, lambda *_: (note('stop'), os._exit(0)))\n"
        "note('start'); print('hello', os.getpid(), flush=True); time.sleep(600)"
    )

    def spec(name: str, **fields: Any) -> ProcessSpec:
        return _spec(tmp_path, name, command=[sys.executable, "-c", program, name], **fields)

    supervisor = Supervisor(
        [
            spec("top", after=("middle",), outlived_by=("side",)),
            spec("middle", after=("base",)),
            spec("base"),
            spec("side"),
        ],
        notify=Notices(),
    )
    await supervisor.start()
    await supervisor.stop()
    lines = order.read_text().splitlines()
    assert [line for line in lines if "side" not in line] == [
        "start base",
        "start middle",
        "start top",
        "stop top",
        "stop middle",
        "stop base",
    ]
    assert lines.index("stop top") < lines.index("stop side")


async def test_when_one_can_not_start_the_others_are_stopped(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [_spec(tmp_path, "good"), _spec(tmp_path, "bad", program="raise SystemExit(1)", after=("good",))],
        notify=Notices(),
    )
    with pytest.raises(StartFailed, match="bad ended with exit code 1"):
        await supervisor.start()
    assert supervisor["good"].pid is None


async def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [_spec(tmp_path, "up"), _spec(tmp_path, "never", program="import time; time.sleep(600)")],
        notify=Notices(),
    )
    start = asyncio.create_task(supervisor.start())
    await eventually(lambda: supervisor["never"].pid is not None)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert [process.pid for process in supervisor] == [None, None]


def test_a_need_that_nobody_starts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs ghost"):
        Supervisor([_spec(tmp_path, after=("ghost",))], notify=Notices())


def test_nothing_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, pathlib, sys
from tests.integration.devstack.test_supervise import Notices, _spec
from devstack.process import Process
async def main():
    process = Process(_spec(pathlib.Path({str(tmp_path)!r})), notify=Notices())
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    child = int(supervisor.stdout.readline())
    assert psutil.pid_exists(child)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    deadline = time.monotonic() + 30
    while not _is_gone(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _is_gone(child)


def _is_gone(pid: int) -> bool:
    # A dead process that has not been reaped yet counts as gone too.
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
