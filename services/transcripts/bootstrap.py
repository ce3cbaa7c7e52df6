"""Wiring of the transcript consumer: the only place that builds things."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.transcripts.consume import Consumer
from services.transcripts.redact import load_redactor, prepare_text
from services.transcripts.settings import TranscriptsSettings
from services.transcripts.store import DatabaseArchive
from shared.contracts.keys import TURNS_STREAM
from shared.runtime.clock import utc_now
from shared.runtime.database import Database
from shared.runtime.redis import connect_redis
from shared.runtime.streams import ConsumerGroup, Entry, dead_letter

GROUP = "transcripts"


@asynccontextmanager
async def open_consumer(settings: TranscriptsSettings) -> AsyncIterator[Consumer]:
    """Build the consumer in the running loop, and take it down again."""
    if settings.transcript_redactor is not None:
        load_redactor(settings.transcript_redactor)  # better to fail now than at the first turn
    database = Database(settings.database_url)
    redis = connect_redis(settings.redis_url)

    async def set_aside(entry: Entry, reason: str) -> None:
        await dead_letter(redis, TURNS_STREAM, entry, reason)

    try:
        yield Consumer(
            group=ConsumerGroup(
                redis,
                stream=TURNS_STREAM,
                group=GROUP,
                consumer=f"{socket.gethostname()}-{os.getpid()}",
            ),
            archive=DatabaseArchive(database, now=utc_now, prepare=lambda turn: prepare_text(turn, settings)),
            set_aside=set_aside,
            now=utc_now,
        )
    finally:
        await redis.aclose()
        await database.close()
