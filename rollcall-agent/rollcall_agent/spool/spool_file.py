"""Read the spool of one job, living or dead: the turns that are not stored yet, and the number of turns."""

import fcntl
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from rollcall_agent import metrics
from rollcall_agent.envelopes import wrap_told
from rollcall_agent.spool.spool import MARK_BYTES, read_credential, read_mark
from shared.contracts.events import AgentReported, Envelope, Step, TurnFinished
from shared.contracts.identifiers import SessionId
from shared.core.transcripts.erasure import without_text
from shared.core.transcripts.watermark import StoredTurns
from shared.platform.clock import Clock
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Line:
    """A turn, and its event."""

    envelope: Envelope
    turn: TurnFinished


@dataclass
class SpoolFile:
    """What is known about a file. `waiting` are the turns, by number, that are not known to be stored."""

    path: Path
    is_dead: bool = False
    size: int = 0
    changed_at: datetime | None = None
    head: AgentReported | None = None
    closing: Envelope | None = None
    credential: str | None = None
    waiting: dict[int, Line] = field(default_factory=dict)
    first_seq: int | None = None
    last_seq: int = 0
    turns_marked: int = 0
    _read_to: int = 0
    _blank_to: int = 0
    _newest: TurnFinished | None = None

    @property
    def session_id(self) -> SessionId | None:
        """The session of the file; None if no line can be read."""
        known = self.head or self._newest
        return known.session_id if known else None

    @property
    def writer(self) -> tuple[str | None, int]:
        """The job and its attempt, as the watermark needs them."""
        known = self.head or self._newest
        return (known.job_id, known.attempt) if known else (None, 0)

    @property
    def turns(self) -> int:
        """How many turns the job has finished, according to the file."""
        written = 0 if self.first_seq is None else self.last_seq - self.first_seq + 1
        return max(written, self.turns_marked)

    def read(self) -> None:
        """Read new lines. Raises `OSError`, including `FileNotFoundError`."""
        with self.path.open("rb") as file:
            # Checked before reading, so that everything a dead job wrote is read.
            self.is_dead = self.is_dead or _has_no_owner(file.fileno())
            status = os.fstat(file.fileno())
            self.size, self.changed_at = status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)
            self._take_mark(file.read(MARK_BYTES))
            file.seek(self._read_to)
            new = file.read(self.size - self._read_to)
        for line in new.splitlines(keepends=True):
            if line.endswith(b"\n"):
                self._take(line)
                self._read_to += len(line)
            elif self.is_dead:
                self._take_torn(line)
                self._read_to += len(line)

    def forget(self, stored: StoredTurns) -> bool:
        """Drop the stored turns; return whether there were any."""
        known = [seq for seq in self.waiting if stored.has(seq)]
        for seq in known:
            del self.waiting[seq]
        return bool(known)

    def blank(self) -> None:
        """Blank the text in the file in place, while a job may be writing to it.

        The turns themselves stay, and are sent, so that their transcript does not become incomplete.
        """
        if self._blank_to == self._read_to:
            return
        with self.path.open("r+b") as file:
            file.seek(self._blank_to)
            lines = file.read(self._read_to - self._blank_to).splitlines(keepends=True)
            file.seek(self._blank_to)
            file.write(b"".join(_blanked(line) for line in lines))
            file.flush()
            os.fsync(file.fileno())
        self._blank_to = self._read_to
        self.waiting = {
            seq: Line(_wordless(line.envelope, line.turn), without_text(line.turn))
            for seq, line in self.waiting.items()
        }

    def count_report(self, *, now: Clock) -> Envelope | None:
        """Return the report with the number of turns: the job's own closing report, or ours.

        None if it is unknown.
        """
        if self.closing is not None or self.head is None:
            return self.closing
        report = self.head.model_copy(update={"step": Step.SETTLED, "turns": self.turns})
        return wrap_told(report, time=now())

    def _take_mark(self, beginning: bytes) -> None:
        turns = read_mark(beginning)
        if turns is not None:
            self.turns_marked = turns
            # This process never overwrites it, because the living job may be doing so.
            self._read_to = max(self._read_to, MARK_BYTES)
            self._blank_to = max(self._blank_to, MARK_BYTES)

    def _take(self, line: bytes) -> None:
        if (credential := read_credential(line)) is not None:
            self.credential = credential
            return
        try:
            envelope = Envelope.parse(line)
            event = envelope.event()
        except (ValueError, ValidationError) as fault:
            self._tell_torn(repr(fault))
            return
        if isinstance(event, TurnFinished):
            self._newest = event
            self._count(event.seq)
            self.waiting[event.seq] = Line(envelope, event)
        elif isinstance(event, AgentReported) and event.step == Step.CLOSED:
            self.closing = envelope
        elif isinstance(event, AgentReported):
            self.head = self.head or event

    def _take_torn(self, line: bytes) -> None:
        self._tell_torn("cut off")
        # The turn was finished and is lost, so its number will be missing. A lost closing report is made
        # again.
        if TurnFinished.type.encode() in line and self.first_seq is not None:
            self._count(self.last_seq + 1)

    def _count(self, seq: int) -> None:
        self.first_seq = seq if self.first_seq is None else min(self.first_seq, seq)
        self.last_seq = max(self.last_seq, seq)

    def _tell_torn(self, detail: str) -> None:
        metrics.spool_torn()
        log.warning("spool_line_torn", file=self.path.name, detail=detail)


def _has_no_owner(file: int) -> bool:
    """Return whether the job that wrote the file is gone, and its lock with it.

    Our lock ends when the file is closed.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _blanked(line: bytes) -> bytes:
    """Return the line without its text, exactly as long as before."""
    if read_credential(line) is not None:
        return line
    end = b"\n" if line.endswith(b"\n") else b""
    room = len(line) - len(end)
    try:
        envelope = Envelope.parse(line)
        turn = envelope.event()
    except (ValueError, ValidationError):
        return b" " * room + end  # cut off, perhaps in the middle of the text
    if not isinstance(turn, TurnFinished):
        return line
    wordless = _wordless(envelope, turn).model_dump_json(exclude_none=True).encode()
    return (wordless if len(wordless) <= room else b"").ljust(room) + end


def _wordless(envelope: Envelope, turn: TurnFinished) -> Envelope:
    return envelope.model_copy(update={"data": without_text(turn).model_dump(mode="json")})
