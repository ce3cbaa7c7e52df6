"""The bare sides of `bench api`: FastAPI routes that do what nobody could leave out.

`/token` mints a token and does nothing else. `/sessions` also commits one row, by SQLAlchemy and asyncpg.
`python -m bench.bare_api PORT`, with the key pair and DATABASE_URL (PostgreSQL) in the environment.
"""

import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI
from livekit import api
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, MetaData, String, Table, insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import create_async_engine

POOL_SIZE = 10  # as the API has

metadata = MetaData()
rows = Table(
    "bare_session",
    metadata,
    Column("id", String, primary_key=True),
    Column("room_name", String, nullable=False),
    Column("agent_name", String, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
)
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=POOL_SIZE, max_overflow=0)


class Granted(BaseModel):
    """The part of an answer that a client needs."""

    server_url: str
    participant_token: str


class Asked(BaseModel):
    """What a client may ask for."""

    agent_name: str = "agent"
    metadata: dict[str, Any] = {}


class Started(Granted):
    """A session and its token."""

    session_id: str
    room_name: str


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=_lifespan)


@app.get("/livez")
async def livez() -> dict[str, str]:
    """This process runs."""
    return {"status": "pass"}


@app.post("/token", status_code=201)
async def token() -> Granted:
    """Mint a token."""
    return Granted(server_url=os.environ["LIVEKIT_URL"], participant_token=_mint("room"))


@app.post("/sessions", status_code=202)
async def sessions(asked: Asked) -> Started:
    """Commit a row, and mint a token for its room."""
    session_id = str(uuid.uuid4())
    room_name = f"room-{session_id}"
    row = {
        "id": session_id,
        "room_name": room_name,
        "agent_name": asked.agent_name,
        "metadata": asked.metadata,
        "requested_at": datetime.now(UTC),
    }
    async with engine.begin() as connection:
        await connection.execute(insert(rows), row)
    return Started(
        session_id=session_id,
        room_name=room_name,
        server_url=os.environ["LIVEKIT_URL"],
        participant_token=_mint(room_name),
    )


def _mint(room: str) -> str:
    return (
        api.AccessToken(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
        .with_identity("caller")
        .with_ttl(timedelta(minutes=15))
        .with_grants(
            api.VideoGrants(
                room_join=True, room=room, can_publish=True, can_subscribe=True, can_publish_data=True
            )
        )
        .to_jwt()
    )


if __name__ == "__main__":
    # With the settings of services/api/__main__.py.
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
