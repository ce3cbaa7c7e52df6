"""Listen to Redis for all followers in this process, with one connection.

Messages may get lost, and decide nothing: a poll of the database follows anyway.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.keys import NEWS_CHANNEL, captions_channel
from shared.platform.background import stop_all
from shared.platform.logs.logs import get_logger
from shared.platform.redis.hints import RECONNECT_DELAY_S

log = get_logger(__name__)

_READ_TIMEOUT_S = 1.0


class PubSub:
    """Calls `on_news` with a session that has new events or turns, and `on_caption` with a session's caption.

    It receives captions only of sessions that `want` requested; those of others never reach this process.
    """

    def __init__(
        self, redis: Redis, *, on_news: Callable[[str], None], on_caption: Callable[[str, str], None]
    ) -> None:
        self._redis = redis
        self._on_news = on_news
        self._on_caption = on_caption
        self._wanted: dict[str, str] = {}  # channel to session
        self._wants_changed = asyncio.Event()

    def want(self, session_id: str, *, wanted: bool) -> None:
        """Request or decline the captions of a session from now on."""
        channel = captions_channel(session_id)
        if wanted is (channel in self._wanted):
            return
        if wanted:
            self._wanted[channel] = session_id
        else:
            del self._wanted[channel]
        self._wants_changed.set()

    async def run(self) -> None:
        """Listen forever, and reconnect after every loss of the connection."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.debug("news_interrupted", error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_S)

    async def _listen(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(NEWS_CHANNEL)
            subscribing = asyncio.create_task(self._subscribe(subscription), name="captions")
            try:
                while True:
                    message = await subscription.get_message(timeout=_READ_TIMEOUT_S)
                    if message is not None:
                        self._hear(str(message["channel"]), str(message["data"]))
                    if subscribing.done():
                        return subscribing.result()
            finally:
                await stop_all([subscribing])
                if not subscribing.cancelled():
                    subscribing.exception()  # already logged, or the same as ours

    def _hear(self, channel: str, data: str) -> None:
        if channel == NEWS_CHANNEL:
            self._on_news(data)
        elif channel in self._wanted:
            self._on_caption(self._wanted[channel], data)

    async def _subscribe(self, subscription: Any) -> None:
        """Subscribe to the requested channels. This task only writes; another one reads."""
        subscribed: set[str] = set()
        while True:
            self._wants_changed.clear()
            wanted = set(self._wanted)
            if new := wanted - subscribed:
                await subscription.subscribe(*new)
            if old := subscribed - wanted:
                await subscription.unsubscribe(*old)
            subscribed = wanted
            await self._wants_changed.wait()
