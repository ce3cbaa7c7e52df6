"""The bare side of `bench api`: a FastAPI route that mints a token and does nothing else.

`python -m bench.bare_api PORT`, with the key pair in the environment.
"""

import os
import sys
from datetime import timedelta

import uvicorn
from fastapi import FastAPI
from livekit import api
from pydantic import BaseModel

app = FastAPI()


class Granted(BaseModel):
    """The part of an answer that a client needs."""

    server_url: str
    participant_token: str


@app.get("/livez")
async def livez() -> dict[str, str]:
    """This process runs."""
    return {"status": "pass"}


@app.post("/token", status_code=201)
async def token() -> Granted:
    """Mint a token."""
    minted = (
        api.AccessToken(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
        .with_identity("caller")
        .with_ttl(timedelta(minutes=15))
        .with_grants(
            api.VideoGrants(
                room_join=True, room="room", can_publish=True, can_subscribe=True, can_publish_data=True
            )
        )
    )
    return Granted(server_url=os.environ["LIVEKIT_URL"], participant_token=minted.to_jwt())


if __name__ == "__main__":
    # With the settings of services/api/__main__.py.
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
