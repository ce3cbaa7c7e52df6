"""Set aside turns that can't be stored. A dead letter holds no text that the database may not hold.

If text is stored unchanged, a letter is the original entry. If only metadata is stored, a redactor is set, or
the text's retention is over, a turn is prepared as for the database. An entry that is not a turn can't be
prepared: its letter says what was wrong, and has no content.
"""

from datetime import timedelta

from pydantic import ValidationError
from redis.asyncio import Redis

from services.transcripts.redact import prepare_text
from services.transcripts.settings import TranscriptsSettings
from shared.contracts.events import Envelope, TurnFinished
from shared.contracts.identifiers import made_at
from shared.contracts.keys import ENVELOPE_FIELD, TURNS_STREAM
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.erasure import without_text
from shared.core.transcripts.erasure_rows import find_marked
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.redis.streams import Entry, dead_letter


class DeadLetters:
    """Writes the dead letters of the turns stream."""

    def __init__(
        self, *, redis: Redis, database: Database, settings: TranscriptsSettings, now: Clock
    ) -> None:
        self._redis = redis
        self._database = database
        self._settings = settings
        self._now = now

    async def set_aside(self, entry: Entry, reason: str) -> None:
        """Write a letter; raises the errors of Redis and the database.

        `reason` has the form `code: detail`.
        """
        found = _turn_in(entry)
        over = found is not None and await self._is_over(found[1])
        if self._stores_all and not over:
            await dead_letter(self._redis, TURNS_STREAM, entry, reason)
            return
        content = {}
        if found is not None:
            envelope, turn = found
            kept = without_text(turn) if over else prepare_text(turn, self._settings)
            bare = envelope.model_copy(update={"data": kept.model_dump(mode="json")})
            content = {ENVELOPE_FIELD: bare.model_dump_json(exclude_none=True)}
        # The detail may contain what was said.
        await dead_letter(self._redis, TURNS_STREAM, Entry(entry.id, content), reason.partition(":")[0])

    @property
    def _stores_all(self) -> bool:
        settings = self._settings
        return settings.transcript_store == "full" and settings.transcript_redactor is None

    async def _is_over(self, turn: TurnFinished) -> bool:
        """Return whether this session's retention is over; a deleted session's age is in its id."""
        async with self._database.read() as db:
            row = await db.get(SessionRow, turn.session_id)
            if row is not None:
                return row.transcript_erased_at is not None or bool(await find_marked(db, [row], [turn]))
        days = [self._settings.transcript_retention_days, self._settings.session_retention_days]
        kept = min((timedelta(days=each) for each in days if each), default=None)
        begun_at = made_at(turn.session_id)
        return kept is not None and begun_at is not None and begun_at < self._now() - kept


def _turn_in(entry: Entry) -> tuple[Envelope, TurnFinished] | None:
    try:
        envelope = entry.envelope()
        turn = envelope.event()
    except (KeyError, ValueError, ValidationError):
        return None
    return (envelope, turn) if isinstance(turn, TurnFinished) else None
