"""Keep a job's turns on this host's disk until the database has them.

A file for each job, and a line for each event: first the report that the job started, then its turns, at
the end the report that says how many there were. Before them all stands a number: how many turns there had
been when one could last not be written. A line is with the operating system before Redis is offered the
turn, so it outlives this process, however that dies. What a crash of the whole host may cost is kept small by
a sync that no call waits for. The job holds a lock on its file for as long as it lives; who reads these files
is in `resend`.
"""

import asyncio
import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from services.agent.ports import Outbox
from services.agent.worker.shared_counter import SharedCounter
from shared.contracts.events import AgentReported, Envelope, Step, TurnFinished
from shared.contracts.text import MAX_EVENT_BYTES
from shared.platform.logs.logs import get_logger
from shared.platform.threads import in_thread

SUFFIX: Final = ".jsonl"
# Not locked yet, so not to be mistaken for that of a dead job.
NASCENT: Final = ".new"
# Of one width, so that it can be written over: for that, a full disk has room.
MARK_BYTES: Final = 11
_sync_data = getattr(os, "fdatasync", os.fsync)  # which not every system has
_KEPT_STEPS: Final = (Step.ENTRYPOINT_STARTED, Step.CLOSED)
ADVICE: Final = (
    "make room, or make the folder that AGENT_SPOOL_DIR names writable; until then, turns that Redis has "
    "not taken are lost with their job's process"
)

log = get_logger(__name__)


class SpoolUnusable(RuntimeError):
    """The folder that AGENT_SPOOL_DIR names can't be written to."""

    def __init__(self, folder: Path, why: OSError) -> None:
        super().__init__(
            f"AGENT_SPOOL_DIR={folder} can't be used ({why.strerror or why}): name a folder that this process"
            " may write to, or none to keep no turns on disk"
        )


def check_spool(folder: Path | None) -> None:
    """Find out before the first call; raises `SpoolUnusable`. A full disk may have room again: it warns."""
    if folder is None:
        log.warning("no_spool", advice="turns that Redis has not taken when a job dies are lost")
        return
    trial = folder / f"trial-{os.getpid()}-{secrets.token_hex(4)}{NASCENT}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        trial.write_bytes(b"\n" * 512)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise SpoolUnusable(folder, error) from error
        log.error("spool_full", folder=str(folder), error=repr(error), advice=ADVICE)  # noqa: TRY400
    finally:
        with suppress(OSError):
            trial.unlink()


class JobSpool:
    """The file of this job. It is made when the job's first event comes; without that, there is none."""

    def __init__(self, folder: Path, *, failures: SharedCounter) -> None:
        self._folder = folder
        self._failures = failures
        self._head: tuple[str, bytes] | None = None
        self._file: int | None = None
        self._size = 0
        self._turns = 0
        self._failing = False
        self._closed = False
        self._unsynced = False
        self._syncing: asyncio.Task[None] | None = None

    def append(self, envelope: Envelope) -> bool:
        """Write an event; whether it is on disk. A failure is told and counted, and the call goes on."""
        if self._closed:
            return False
        self._turns += envelope.type == TurnFinished.type
        try:
            self._write(self._line(envelope))
        except OSError as error:
            self._failed(error)
            self._mark_lost()
            return False
        except ValueError as error:
            self._unfit(envelope, error)
            self._mark_lost()
            return False
        if self._failing:
            self._failing = False
            log.info("spool_restored")
        self._sync_soon()
        return True

    async def aclose(self) -> None:
        """Sync what is written, and give the file to whoever reads it."""
        self._closed = True
        if self._syncing is not None:
            await self._syncing
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _line(self, envelope: Envelope) -> bytes:
        """What is to be written now; raises `ValueError` for an event that nobody could read or take."""
        line = envelope.model_dump_json(exclude_none=True).encode() + b"\n"
        if len(line) > MAX_EVENT_BYTES:
            raise ValueError(f"{len(line)} bytes, at most {MAX_EVENT_BYTES}")
        if self._head is not None:
            return line
        self._head = (_name(envelope), line)
        return b""  # written by `_made`

    def _write(self, line: bytes) -> None:
        if self._file is None and self._head is not None:
            name, head = self._head
            head = _mark(0) + head
            self._file = self._made(name, head)
            self._size = len(head)
        if self._file is None:
            return
        self._size = _append(self._file, line, self._size)

    def _made(self, name: str, head: bytes) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / name
        nascent = path.with_name(f"{name}{NASCENT}")
        file = os.open(nascent, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(file, head, 0)
            nascent.rename(path)
        except OSError:
            os.close(file)
            with suppress(OSError):
                nascent.unlink()
            raise
        return file

    def _failed(self, error: OSError) -> None:
        self._failures.add()
        if not self._failing:
            self._failing = True
            log.error("spool_failed", folder=str(self._folder), error=repr(error), advice=ADVICE)

    def _unfit(self, envelope: Envelope, error: ValueError) -> None:
        self._failures.add()
        log.error("spool_refused", type=envelope.type, subject=envelope.subject, error=repr(error))

    def _mark_lost(self) -> None:
        """Leave word of how many turns there are, lest the last ones be missed by nobody."""
        if self._file is not None:
            with suppress(OSError):  # which is told already
                os.pwrite(self._file, _mark(self._turns), 0)

    def _sync_soon(self) -> None:
        self._unsynced = True
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync(), name="spool-sync")

    async def _sync(self) -> None:
        while self._unsynced and self._file is not None:
            self._unsynced = False
            try:
                await in_thread(_sync_data, self._file)
            except OSError as error:
                self._failed(error)


class SpooledOutbox:
    """Puts on disk what must not be lost, and hands everything on."""

    def __init__(self, outbox: Outbox, spool: JobSpool) -> None:
        self._outbox = outbox
        self._spool = spool

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Take an event; see `ports.Outbox`."""
        if envelope.type == TurnFinished.type or _is_kept_report(envelope):
            self._spool.append(envelope)
        return self._outbox.offer(stream, envelope)


def read_mark(beginning: bytes) -> int | None:
    """How many turns there had been when one could last not be written; None where nothing says so."""
    number = beginning[: MARK_BYTES - 1]
    return int(number) if len(beginning) == MARK_BYTES and number.isdigit() else None


def _mark(turns: int) -> bytes:
    return b"%010d\n" % turns


def _append(file: int, line: bytes, size: int) -> int:
    """Write a line at the end of a file of this size, whole or not at all; returns the new size."""
    written = os.pwrite(file, line, size)
    if written < len(line):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return size + written


def _is_kept_report(envelope: Envelope) -> bool:
    return envelope.type == AgentReported.type and envelope.data.get("step") in _KEPT_STEPS


def _name(envelope: Envelope) -> str:
    """Whose file it is; the last part tells two processes apart that were given the same job."""
    data = envelope.data
    parts = (data["session_id"], str(data["attempt"]), data["job_id"], secrets.token_hex(3))
    return ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts) + SUFFIX
