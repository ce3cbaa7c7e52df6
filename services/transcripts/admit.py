"""Decide whether an entry of the stream is a turn that may be stored, and if not, why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import ValidationError

from shared.contracts.events import Envelope, TurnFinished, UnknownEvent
from shared.contracts.keys import ENVELOPE_FIELD
from shared.core.transcripts.watermark import MAX_SEQ
from shared.platform.redis.streams import Entry


class Reason(StrEnum):
    """Why an entry was set aside."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"  # mostly of a later version: replay it after the upgrade
    UNEXPECTED_TYPE = "unexpected_type"  # an event, but not a turn
    SESSION_MISMATCH = "session_mismatch"  # the envelope names another session than the turn
    BAD_SEQUENCE = "bad_sequence"
    UNKNOWN_SESSION = "unknown_session"
    FOREIGN_PROJECT = "foreign_project"  # the envelope names another project than the session's
    REFUSED = "refused"  # the database refused it


class NotAdmitted(Exception):
    """The entry is not a turn that may be stored."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Parsed:
    """A turn, and the entry that holds it. `project` is set if the envelope names one."""

    entry: Entry
    turn: TurnFinished
    published_at: datetime
    project: str | None
    traceparent: str | None


class _TurnEnvelope(Envelope):
    """An envelope with a turn in it, parsed in one pass."""

    data: TurnFinished  # type: ignore[assignment]
    project: str | None = None


def admit(entry: Entry, *, max_bytes: int) -> Parsed:
    """Return the turn in an entry; raises `NotAdmitted`."""
    text = entry.fields.get(ENVELOPE_FIELD)
    if text is None:
        raise NotAdmitted(Reason.MALFORMED, f"no field {ENVELOPE_FIELD!r}")
    # No character is longer than four bytes, so most need not be counted.
    if 4 * len(text) > max_bytes and (size := len(text.encode())) > max_bytes:
        raise NotAdmitted(Reason.OVERSIZED, f"{size} bytes, at most {max_bytes}")
    try:
        envelope = _TurnEnvelope.parse(text)
    except ValidationError as fault:
        raise _find_reason(entry, fault) from fault
    if envelope.type != TurnFinished.type:
        raise _find_reason(entry, None)
    turn = envelope.data
    if envelope.subject != f"session/{turn.session_id}":
        raise NotAdmitted(Reason.SESSION_MISMATCH, f"{envelope.subject} brings session {turn.session_id}")
    if not 1 <= turn.seq <= MAX_SEQ:
        raise NotAdmitted(Reason.BAD_SEQUENCE, f"{turn.seq} is not between 1 and {MAX_SEQ}")
    return Parsed(entry, turn, envelope.time, envelope.project, envelope.traceparent)


def _find_reason(entry: Entry, fault: ValidationError | None) -> NotAdmitted:
    try:
        envelope = entry.envelope()
        envelope.event()
    except UnknownEvent as unknown:
        return NotAdmitted(Reason.UNKNOWN_TYPE, str(unknown))
    except ValueError as malformed:
        return NotAdmitted(Reason.MALFORMED, repr(malformed))
    if envelope.type != TurnFinished.type:
        return NotAdmitted(Reason.UNEXPECTED_TYPE, envelope.type)
    return NotAdmitted(Reason.MALFORMED, repr(fault))
