"""The route of the settings."""

from fastapi import APIRouter

from services.api.auth.access import SessionsReader
from services.api.config.schemas import Config
from services.api.deps import Deps
from services.api.errors.problems import PROBLEMS

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/config", tags=["operations"], summary="Read the settings")
async def config(services: Deps, asking: SessionsReader) -> Config:
    """Read how this API is set: agents, models, limits, retention, what is on and off, and links.

    No secret and no address of a database or broker is in it.
    """
    return Config.of(services.settings, auth="off" if asking.key_id is None else "keys")
