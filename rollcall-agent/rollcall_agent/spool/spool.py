"""Keep a job's turns on this host's disk until the database has them.

Each job has a file, with a line for each event: first the report that the job started, then its turns, and at
the end the report with their count. Before the first line there is a number: how many turns there were when
one could last not be written. A job that reaches Rollcall over the API keeps the credential of its attempt in
a line of its own, because a later worker needs it to send the turns. The operating system has a line before
Rollcall is offered the turn, so the line outlives this process. A sync, for which no call waits, limits the
loss if the whole host crashes. The job holds a lock on its file as long as it lives. `resend.py` reads these
files.
"""

import asyncio
import errno
import fcntl
import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from rollcall_agent.ports import Outbox
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.events import AgentReported, Envelope, Step, TurnFinished
from shared.contracts.settings import WorkerSettings
from shared.contracts.text import MAX_EVENT_BYTES
from shared.platform.logs.logs import get_logger
from shared.platform.threads import in_thread

SUFFIX: Final = ".jsonl"
# The suffix of a file that is not locked yet, so that it does not look like a dead job's.
NASCENT: Final = ".new"
# Of fixed width, so that it can be overwritten, which works even on a full disk.
MARK_BYTES: Final = 11
_CREDENTIAL: Final = b'{"credential"'
_sync_data = getattr(os, "fdatasync", os.fsync)  # not every system has fdatasync
_KEPT_STEPS: Final = (Step.ENTRYPOINT_STARTED, Step.CLOSED)
ADVICE: Final = (
    "make room, or make the folder in AGENT_SPOOL_DIR writable; until then, turns that Rollcall has not "
    "accepted are lost if their job's process dies"
)

log = get_logger(__name__)


class SpoolUnusable(RuntimeError):
    """The folder in AGENT_SPOOL_DIR can't be written to."""

    def __init__(self, folder: Path, why: OSError) -> None:
        super().__init__(
            f"AGENT_SPOOL_DIR={folder} can't be used ({why.strerror or why}): name a folder that this process"
            " may write to, or none to keep no turns on disk"
        )


def folder_of(settings: WorkerSettings) -> Path | None:
    """Return the folder that keeps turns until the database has them; None for no spool."""
    return None if settings.agent_spool_dir.lower() == "none" else Path(settings.agent_spool_dir).absolute()


def check_spool(folder: Path | None) -> None:
    """Check the folder before the first call; raises `SpoolUnusable`.

    A full disk only causes a warning, since it may have room again later.
    """
    if folder is None:
        log.warning("no_spool", advice="if a job dies, turns that Rollcall has not accepted are lost")
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
    """The file of this job. It is created with the job's first event.

    credential: what a later worker shows to send the turns of this attempt; None if nobody asks for it.
    """

    def __init__(self, folder: Path, *, failures: SharedCounter, credential: str | None = None) -> None:
        self._folder = folder
        self._failures = failures
        self._credential = credential
        self._head: tuple[str, bytes] | None = None
        self._file: int | None = None
        self._size = 0
        self._turns = 0
        self._failing = False
        self._closed = False
        self._unsynced = False
        self._syncing: asyncio.Task[None] | None = None

    def append(self, envelope: Envelope) -> bool:
        """Write an event; return whether it was written.

        A failure is logged and counted, and the call goes on.
        """
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
        """Sync the file, and release its lock for the reader."""
        self._closed = True
        if self._syncing is not None:
            await self._syncing
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _line(self, envelope: Envelope) -> bytes:
        """Return the line to write; raises `ValueError` for an event that no reader would accept."""
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
            head = _mark(0) + _credential_line(self._credential) + head
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
        """Record the number of turns, so that the loss of the last ones does not go unnoticed."""
        if self._file is not None:
            with suppress(OSError):  # already logged
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
    """Writes events to disk that must not be lost, and passes all events on."""

    def __init__(self, outbox: Outbox, spool: JobSpool) -> None:
        self._outbox = outbox
        self._spool = spool

    def offer(self, stream: str, envelope: Envelope) -> bool:
        """Queue an event; see `ports.Outbox`."""
        if envelope.type == TurnFinished.type or _is_kept_report(envelope):
            self._spool.append(envelope)
        return self._outbox.offer(stream, envelope)


def read_mark(beginning: bytes) -> int | None:
    """Return how many turns there were when one could last not be written; None if there is no such mark."""
    number = beginning[: MARK_BYTES - 1]
    return int(number) if len(beginning) == MARK_BYTES and number.isdigit() else None


def read_credential(line: bytes) -> str | None:
    """Return the credential in a line; None for any other line."""
    if not line.startswith(_CREDENTIAL):
        return None
    with suppress(ValueError):
        credential = json.loads(line)["credential"]
        return credential if isinstance(credential, str) else None
    return None


def _credential_line(credential: str | None) -> bytes:
    return json.dumps({"credential": credential}).encode() + b"\n" if credential else b""


def _mark(turns: int) -> bytes:
    return b"%010d\n" % turns


def _append(file: int, line: bytes, size: int) -> int:
    """Append a line to a file of this size, as a whole or not at all; return the new size."""
    written = os.pwrite(file, line, size)
    if written < len(line):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return size + written


def _is_kept_report(envelope: Envelope) -> bool:
    return envelope.type == AgentReported.type and envelope.data.get("step") in _KEPT_STEPS


def _name(envelope: Envelope) -> str:
    """Return the file's name; its last part distinguishes two processes with the same job."""
    data = envelope.data
    parts = (data["session_id"], str(data["attempt"]), data["job_id"], secrets.token_hex(3))
    return ".".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts) + SUFFIX
