"""Live events without Rollcall: from Redis pub/sub to all readers. `python -m bench.bare_events`."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from sse_starlette import EventSourceResponse, ServerSentEvent

from shared.platform.redis.client import connect_redis

CHANNEL: Final = "bench:events"


def create_app(redis_url: str) -> FastAPI:
    """One listener, and a queue for each reader."""
    queues: set[asyncio.Queue[str]] = set()

    async def listen() -> None:
        async with (
            connect_redis(redis_url) as redis,
            redis.pubsub(ignore_subscribe_messages=True) as subscription,
        ):
            await subscription.subscribe(CHANNEL)
            while True:
                message = await subscription.get_message(timeout=1.0)
                for queue in queues if message is not None else ():
                    queue.put_nowait(message["data"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        listening = asyncio.create_task(listen())
        yield
        listening.cancel()

    async def events() -> AsyncIterator[ServerSentEvent]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        try:
            yield ServerSentEvent(data="{}", event="hello")
            while True:
                yield ServerSentEvent(data=await queue.get(), event="bare")
        finally:
            queues.discard(queue)

    app = FastAPI(lifespan=lifespan)

    @app.get("/events")
    async def follow() -> EventSourceResponse:
        return EventSourceResponse(events())

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    options = parser.parse_args()
    uvicorn.run(create_app(options.redis_url), port=options.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
