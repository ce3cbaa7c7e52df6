"""Find out before anything starts whether LiveKit refuses our key."""

import asyncio

from livekit.api import ListRoomsRequest, LiveKitAPI, ServerError

from services.agent.settings import AgentSettings
from shared.runtime.logs import get_logger

TIMEOUT_S = 3.0

log = get_logger(__name__)


class CredentialsRefused(RuntimeError):
    """LiveKit refuses LIVEKIT_API_KEY or LIVEKIT_API_SECRET, or this host's clock is wrong."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


async def check_credentials(settings: AgentSettings) -> None:
    """Ask LiveKit for a room that is not there. Raises `CredentialsRefused` if it refuses to answer.

    The SDK would take a refusal for an outage and go on for two minutes. A server that is away is left
    to the SDK, which waits for it.
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            LiveKitAPI(
                settings.livekit_url,
                settings.livekit_api_key,
                settings.livekit_api_secret.get_secret_value(),
            ) as livekit,
        ):
            await livekit.room.list_rooms(ListRoomsRequest(names=["rollcall-preflight"]))
    except ServerError as refusal:
        if refusal.status == 401:
            raise CredentialsRefused from refusal
        log.warning("preflight_inconclusive", error=repr(refusal))
    except Exception as failure:
        log.warning("preflight_inconclusive", error=repr(failure))
