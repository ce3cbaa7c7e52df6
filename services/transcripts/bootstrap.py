"""Build the transcript consumer from its parts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.transcripts.consume import Consumer
from services.transcripts.dead_letters import DeadLetters
from services.transcripts.redact import load_redactor, prepare_text
from services.transcripts.settings import TranscriptsSettings
from services.transcripts.store import DatabaseArchive
from shared.contracts.events import TurnFinished
from shared.contracts.keys import NEWS_CHANNEL, TURNS_STREAM
from shared.contracts.text import MAX_EVENT_BYTES
from shared.core.database_ready import unready
from shared.core.transcripts.watermark import publish_stored
from shared.platform.clock import utc_now
from shared.platform.database.database import Database
from shared.platform.http.probe import start_probe
from shared.platform.logs.logs import get_logger
from shared.platform.process import process_name
from shared.platform.redis.client import connect_redis
from shared.platform.redis.hints import give_hints
from shared.platform.redis.streams import ConsumerGroup

log = get_logger(__name__)

GROUP = "transcripts"


@asynccontextmanager
async def open_consumer(settings: TranscriptsSettings) -> AsyncIterator[Consumer]:
    """Build the consumer in the running loop, and close its parts at the end of the block."""
    if settings.transcript_redactor is not None:
        load_redactor(settings.transcript_redactor)  # fails now rather than at the first turn
    database = Database(settings.database_url)
    redis = connect_redis(settings.redis_url)

    archive = DatabaseArchive(database, now=utc_now, prepare=lambda turn: prepare_text(turn, settings))

    letters = DeadLetters(redis=redis, database=database, settings=settings, now=utc_now)

    async def tell_stored(turns: Sequence[TurnFinished]) -> None:
        # Followers of a session wait for the first, an agent's worker for the second.
        await give_hints(redis, {turn.session_id for turn in turns}, channel=NEWS_CHANNEL)
        await publish_stored(redis, turns)

    if settings.turn_max_bytes < MAX_EVENT_BYTES:
        log.warning("turn_limit_low", turn_max_bytes=settings.turn_max_bytes, workers_make=MAX_EVENT_BYTES)
    probe = await start_probe(settings, ready=lambda: unready(database))
    try:
        yield Consumer(
            group=ConsumerGroup(
                redis,
                stream=TURNS_STREAM,
                group=GROUP,
                consumer=process_name(),
                max_count=settings.transcripts_batch_turns,
            ),
            archive=archive,
            set_aside=letters.set_aside,
            tell_stored=tell_stored,
            max_turn_bytes=settings.turn_max_bytes,
            now=utc_now,
        )
    finally:
        if probe is not None:
            await probe.cleanup()
        await archive.aclose()
        await redis.aclose()
        await database.close()
