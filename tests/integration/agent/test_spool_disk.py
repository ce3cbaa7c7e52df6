"""Spools outlive a process that is killed; on a full disk, and on a bad one, the call goes on."""

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rollcall_agent.spool.resend import DEAD_S
from rollcall_agent.spool.spool import SpoolUnusable, check_spool
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.events import Step
from shared.core.transcripts.erasure import mark_erased
from tests.integration.agent.spooling import Host, Job, counts_sent, turns_sent
from tests.unit.agent.agent_fakes import SESSION

ROOT = Path(__file__).parents[3]

_TALK = """
import asyncio, sys
from pathlib import Path
from tests.integration.agent.spooling import Job

async def main():
    job = Job(Path(sys.argv[1]))
    job.say("one", "two")
    print("said", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_turns_outlive_a_process_that_is_killed_and_its_lock_does_not(host: Host) -> None:
    talking = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TALK, host.folder, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert talking.stdout is not None
        assert await talking.stdout.readline() == b"said\n"
        await host.after()
        await host.after(DEAD_S + 0.1)
        assert await counts_sent(host.redis) == [], "it lives"
    finally:
        talking.send_signal(signal.SIGKILL)
        await talking.wait()
    await host.after()
    await host.after(DEAD_S)
    assert await turns_sent(host.redis) == [(1, "one"), (2, "two")]
    assert await counts_sent(host.redis) == [(Step.SETTLED, 2)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 kB; where none may be mounted, one that refuses files over 64 kB."""
    made = tmp_path / "disk"
    made.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", made], capture_output=True, check=False
    )
    with ExitStack() as undo:
        if mounted.returncode == 0:
            undo.callback(lambda: subprocess.run(["umount", "--lazy", made], check=True))
        else:
            undo.enter_context(_files_up_to(65_536))
        yield made


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


async def test_on_a_full_disk_the_call_goes_on_and_the_failure_is_told_and_counted(
    small_disk: Path, redis: Redis
) -> None:
    tally = SharedCounter()
    job = Job(small_disk, failures=tally)
    for number in range(40):
        job.say(f"{number} " + "x" * 4000)
    assert len(job.said) == 40, "every turn was offered to Redis"
    failed = tally.take()
    assert 20 < failed < 40
    [file] = small_disk.glob("*.jsonl")
    whole = file.read_bytes()
    assert whole.endswith(b"\n"), "no half of a turn is left"
    assert whole.count(b"\n") == 2 + 40 - failed
    await job.close()
    host = Host(small_disk, redis)
    await host.after()
    assert [seq for seq, _ in await turns_sent(redis)] == list(range(1, 41 - failed))


async def test_the_turns_that_a_full_disk_did_not_take_are_counted_if_the_job_dies(
    small_disk: Path, redis: Redis
) -> None:
    host = Host(small_disk, redis)
    job = Job(small_disk, failures=host.failures)
    job.say("one", "two")
    await host.after()
    await mark_erased(redis, [SESSION])
    await host.after()
    while not host.failures.take():
        job.say("x" * 4000)
    last = len(job.said)
    job.say(*["x" * 4000] * 2)
    await host.after()
    await job.die()
    await host.after()
    await host.after(DEAD_S)
    assert max(seq for seq, _ in await turns_sent(redis)) == last - 1
    assert await counts_sent(redis) == [(Step.SETTLED, last + 2)]
    # And so it is for the next worker, which blanks the file anew before it sends it.
    for _ in range(2):
        host.resender = host.worker()
        await host.after()
    assert await counts_sent(redis) == [(Step.SETTLED, last + 2)] * 3


async def test_a_spool_of_an_earlier_version_begins_with_its_first_event(host: Host) -> None:
    job = Job(host.folder)
    job.say("one", "two")
    await job.die()
    [file] = host.files()
    file.write_bytes(file.read_bytes().partition(b"\n")[2])
    await host.after()
    await host.after(DEAD_S)
    assert await turns_sent(host.redis) == [(1, "one"), (2, "two")]
    assert await counts_sent(host.redis) == [(Step.SETTLED, 2)]


async def test_a_disk_that_was_full_from_the_beginning_is_used_once_it_has_room(
    tmp_path: Path, host: Host
) -> None:
    host.folder.rmdir()
    host.folder.write_text("in the way")
    tally = SharedCounter()
    job = Job(host.folder, failures=tally)
    job.say("one")
    assert tally.take() == 2
    host.folder.unlink()
    job.say("two")
    await job.die()
    await host.after()
    assert await turns_sent(host.redis) == [(2, "two")]
    assert job.spool._failing is False


def test_a_folder_that_cannot_be_used_is_named_before_the_first_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match=r"AGENT_SPOOL_DIR=.*/file/spool .*none"):
        check_spool(tmp_path / "file" / "spool")


def test_a_full_disk_stops_no_worker(small_disk: Path) -> None:
    with (small_disk / "filling").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    check_spool(small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["filling"]
