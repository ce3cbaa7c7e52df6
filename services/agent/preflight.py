"""Check before anything starts whether LiveKit refuses our key."""

import asyncio

from services.agent.settings import AgentSettings
from shared.contracts.causes import Cause
from shared.platform.livekit.client import NO_SUCH_ROOM, LiveKit, LiveKitError
from shared.platform.logs.logs import get_logger

TIMEOUT_S = 3.0

log = get_logger(__name__)


class CredentialsRefused(RuntimeError):
    """LiveKit refuses LIVEKIT_API_KEY or LIVEKIT_API_SECRET, or this host's clock is wrong."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


async def check_credentials(settings: AgentSettings) -> None:
    """Ask LiveKit for a room that does not exist. Raises `CredentialsRefused` if it refuses to answer.

    The SDK would treat a refusal like an outage and try for two minutes. If the server is down, the SDK waits
    for it.
    """
    livekit = LiveKit(settings)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await livekit.room_exists(NO_SUCH_ROOM)
    except LiveKitError as error:
        if error.cause is Cause.LIVEKIT_AUTH:
            raise CredentialsRefused from error
        log.warning("preflight_inconclusive", error=str(error))
    except TimeoutError:
        log.warning("preflight_inconclusive", error=f"no answer in {TIMEOUT_S:g} s")
    finally:
        await livekit.close()
