"""Send the turns on this host's disk that the database does not have, and remove those that it has.

This is a loop in the worker's main process. Several workers of a host may share the folder. One of them,
which holds a lock in it, looks after the files of all; when it dies, another takes over. A living job
publishes its turns itself. This loop sends them again if they are not stored after some time, because Redis
may have lost its data. The turns of a dead job, and their count, are sent at once and then repeatedly, until
the database has both; then the file is removed.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from rollcall_agent import metrics
from rollcall_agent.ports import CallRefused
from rollcall_agent.spool.spool import NASCENT, SUFFIX
from rollcall_agent.spool.spool_file import SpoolFile
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.keys import REPORTS_STREAM, TURNS_STREAM
from shared.core.transcripts.erasure import MARKER_TTL
from shared.core.workers.backend import Backend
from shared.platform.clock import Clock, utc_now
from shared.platform.logs.logs import get_logger
from shared.platform.redis.streams import UNREACHABLE
from shared.platform.threads import in_thread

ROUND_S: Final = 0.5
LOCK: Final = "resender.lock"
# Unless something is wrong, a living job's turn is stored within milliseconds.
RESEND_S: Final = 3.0
# The time for a job's last turns to be stored after it closed.
DEAD_S: Final = 1.0
# While the consumer or the database is down, the stream must not fill up with copies.
BACKOFF_MAX_S: Final = 60.0
LOOK_MAX_S: Final = 5.0
TURNS_AT_ONCE: Final = 200
TURNS_A_ROUND: Final = 1000
# A younger file without a lock may be about to be locked.
NASCENT_S: Final = 60.0
# With a round every half second: a warning for the first failure, and then one a minute.
LOG_EVERY_FAILURES: Final = 120

log = get_logger(__name__)


@dataclass
class Care:
    """One file, and when to handle it next; times are of the monotonic clock, in seconds."""

    file: SpoolFile
    due_at: float | None = None
    backoff: float = RESEND_S
    look_at: float = 0.0
    knew_dead: bool = False

    def is_due(self, now: float, *, moved: bool) -> bool:
        """Return whether to send the rest now.

        `moved` means that some turns were just found stored, so the rest may follow.
        """
        patience = DEAD_S if self.file.is_dead else RESEND_S
        if self.due_at is None or moved:
            self.due_at, self.backoff = now + patience, RESEND_S
        if self.file.is_dead and not self.knew_dead:
            self.knew_dead = True
            self.due_at = min(self.due_at, now + patience)
        return now >= self.due_at

    def sent(self, now: float) -> None:
        """Wait longer after each time before sending again."""
        self.due_at = now + self.backoff
        self.backoff = min(2 * self.backoff, BACKOFF_MAX_S)

    def looked(self, now: float) -> None:
        """Look at the file less often the longer nothing changes."""
        self.look_at = now + min(ROUND_S * self.backoff / RESEND_S, LOOK_MAX_S)


class Resender:
    """Looks after the spools of a folder, from `run` to `finish`. Without a folder, it does nothing."""

    def __init__(
        self,
        folder: Path | None,
        *,
        backend: Backend,
        failures: SharedCounter,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._backend = backend
        self._failures = failures
        self._now = now
        self._monotonic = monotonic
        self._lock: int | None = None
        self._cares: dict[str, Care] = {}
        self._unreachable = 0
        self._told: set[str] = set()
        self._fresh = True

    async def run(self) -> None:
        """Look after the files until cancelled."""
        while True:
            metrics.spool_failed(self._failures.take())
            if self.holds_lock():
                await self.round()
            await asyncio.sleep(ROUND_S)

    async def finish(self, *, within_s: float) -> None:
        """Handle the files of the last jobs, for at most `within_s`; the next worker handles the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._finish()
        left = sum(len(care.file.waiting) for care in self._cares.values())
        if left:
            log.warning("turns_left_on_disk", turns=left, folder=str(self._folder))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _finish(self) -> None:
        while self.holds_lock() and await self.round(hurry=True):
            if not any(care.file.is_dead for care in self._cares.values()):
                return
            await asyncio.sleep(ROUND_S / 5)

    async def round(self, *, hurry: bool = False) -> bool:
        """Look once at every file that is due; return whether Rollcall could be reached."""
        await in_thread(self._scan)
        self._measure()
        budget = TURNS_A_ROUND
        try:
            for care in list(self._cares.values()):
                if budget > 0 and (hurry or self._monotonic() >= care.look_at):
                    budget -= await self._tend_safely(care)
        except UNREACHABLE as error:
            if self._unreachable % LOG_EVERY_FAILURES == 0:
                log.warning("spool_not_sent", files=len(self._cares), error=repr(error))
            self._unreachable += 1
            return False
        if self._unreachable:
            self._unreachable = 0
            for care in self._cares.values():
                if not care.file.is_dead:
                    care.due_at = None  # the job itself sends them now
        return True

    async def _tend_safely(self, care: Care) -> int:
        """Handle a file. A fault of one file is logged once, and does not hold up the others."""
        try:
            return await self._tend(care)
        except UNREACHABLE as error:
            if isinstance(error, OSError) and error.filename is not None:  # the disk failed
                self._tell_once(care.file.path.name, error)
                return 0
            raise
        except CallRefused as refused:
            await self._refused(care, refused)
            return 0
        except Exception as error:
            self._tell_once(care.file.path.name, error)
            return 0

    async def _tend(self, care: Care) -> int:
        """Drop a file's stored turns, and send the rest if it is due; return how many turns were sent."""
        file, now = care.file, self._monotonic()
        if file.session_id is None:  # the file has no readable line
            if file.is_dead:
                await self._remove(file)
            return 0
        job_id, number = file.writer
        attempt = self._backend.attempt(file.session_id, number, file.credential)
        stored = await attempt.read_stored(job_id)
        if await attempt.is_erased():
            await in_thread(file.blank)
        moved = file.forget(stored)
        count = file.count_report(now=self._now) if file.is_dead and not stored.is_counted else None
        if not file.waiting and count is None:
            care.due_at = None
            if file.is_dead:
                await self._remove(file)
            return 0
        due = care.is_due(now, moved=moved)
        care.looked(now)
        if not due:
            return 0
        if self._is_too_old(file):
            await self._give_up(file)
            return 0
        batch = [line.envelope for _, line in islice(sorted(file.waiting.items()), TURNS_AT_ONCE)]
        if batch:
            await self._backend.publish(TURNS_STREAM, batch)
            metrics.turns_resent(len(batch))
            log.info("turns_resent", file=file.path.name, turns=len(batch), job_is_dead=file.is_dead)
        if count is not None:
            await self._backend.publish(REPORTS_STREAM, [count])
        care.sent(now)
        return len(batch)

    async def _refused(self, care: Care, refused: CallRefused) -> None:
        """Rollcall doesn't take the turns from us: leave them on disk, until they are too old."""
        file, now = care.file, self._monotonic()
        if self._is_too_old(file):
            await self._give_up(file)
            return
        care.sent(now)
        care.looked(now)
        if file.path.name not in self._told:
            self._told.add(file.path.name)
            log.error("turns_refused", file=file.path.name, turns=len(file.waiting), error=str(refused))

    def _is_too_old(self, file: SpoolFile) -> bool:
        if not file.is_dead or file.changed_at is None:
            return False
        return self._now() - file.changed_at > MARKER_TTL

    async def _give_up(self, file: SpoolFile) -> None:
        metrics.spool_dropped(len(file.waiting))
        log.error("spool_dropped", file=file.path.name, turns=len(file.waiting))
        await self._remove(file)

    async def _remove(self, file: SpoolFile) -> None:
        try:
            await in_thread(file.path.unlink, missing_ok=True)
        except OSError as error:
            self._tell_once(file.path.name, error)
            return
        self._cares.pop(file.path.name, None)

    def _scan(self) -> None:
        """Read new lines from disk. It runs in a thread, so that a slow disk delays no heartbeat."""
        try:
            paths = sorted(self._folder.iterdir()) if self._folder is not None else []
        except OSError as error:
            self._tell_once(str(self._folder), error)
            paths = []
        for gone in self._cares.keys() - {path.name for path in paths}:
            del self._cares[gone]
        for path in paths:
            if path.name.endswith(NASCENT):
                _remove_stillborn(path)
            elif path.name.endswith(SUFFIX):
                self._read(path)
        self._fresh = False

    def _read(self, path: Path) -> None:
        name = path.name
        care = self._cares.get(name) or Care(SpoolFile(path))
        if care.file.is_dead and name in self._cares:
            return  # nothing follows the closing report
        try:
            care.file.read()
        except FileNotFoundError:
            return
        except Exception as error:
            self._tell_once(name, error)
            return
        if self._fresh and care.file.is_dead:
            # Its job died with an earlier worker.
            care.due_at, care.knew_dead = self._monotonic(), True
        self._cares[name] = care

    def _measure(self) -> None:
        files = [care.file for care in self._cares.values()]
        oldest = min((line.envelope.time for f in files for line in f.waiting.values()), default=None)
        metrics.spool_seen(
            files=len(files),
            size=sum(file.size for file in files),
            oldest_s=max(0.0, (self._now() - oldest).total_seconds()) if oldest else 0.0,
        )

    def holds_lock(self) -> bool:
        """Return whether this worker looks after the folder; take the lock if no other worker has it."""
        if self._lock is not None or self._folder is None:
            return self._lock is not None
        try:
            file = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._tell_once(LOCK, error)
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another worker of this host holds the lock
            os.close(file)
            return False
        self._lock = file
        return True

    def _tell_once(self, name: str, error: Exception) -> None:
        if name not in self._told:
            self._told.add(name)
            log.error("spool_unreadable", file=name, folder=str(self._folder), error=repr(error))


def _remove_stillborn(path: Path) -> None:
    # Its job died, or the disk was full, just as the file was created.
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > NASCENT_S:
            path.unlink()
