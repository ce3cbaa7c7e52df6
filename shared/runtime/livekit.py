"""The LiveKit server's API, with every failure classed: is it worth another try, and whose fault is it.

Facts it rests on (livekit-server 1.13.5): a wrong key or secret is a 401 without a Twirp body; a room
that isn't there makes the dispatch calls block for 3 s and answer 503, but ListParticipants answers an
empty list; calls to a server that is not LiveKit Cloud are made once, so trying again is ours.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import aiohttp
from livekit import api
from livekit.protocol import agent_dispatch, models, room
from prometheus_client import Counter, Histogram

from shared.contracts.causes import Cause
from shared.contracts.keys import (
    LIVEKIT_AGENT_NAME_ATTRIBUTE,
    LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE,
)
from shared.contracts.settings import LiveKitSettings

T = TypeVar("T")

# ListDispatch answers only after 3.0 s where a room's node is missing.
CALL_TIMEOUT_S = 4.0

CALLS = Counter("livekit_api_calls_total", "LiveKit API calls.", ["method", "result"])
CALL_SECONDS = Histogram("livekit_api_call_seconds", "Duration of LiveKit API calls.", ["method"])


class LiveKitError(Exception):
    """A LiveKit call that did not succeed.

    retryable: another try may succeed. uncertain: it may have taken effect all the same, so look first.
    """

    def __init__(self, message: str, *, cause: Cause, retryable: bool, uncertain: bool) -> None:
        super().__init__(message)
        self.cause = cause
        self.retryable = retryable
        self.uncertain = uncertain


class NotFound(LiveKitError):
    """What the call was about is not there (any more)."""


class LiveKit:
    """One client a process. Build it inside the loop that uses it; `close()` it."""

    def __init__(self, settings: LiveKitSettings) -> None:
        self._api = api.LiveKitAPI(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, connect=2.0),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    async def create_room(
        self,
        name: str,
        *,
        agents: list[agent_dispatch.RoomAgentDispatch],
        empty_timeout_s: int,
        departure_timeout_s: int,
    ) -> models.Room:
        """Create a room and dispatch `agents` to it; an existing room is returned, and dispatches none."""
        request = room.CreateRoomRequest(
            name=name,
            agents=agents,
            empty_timeout=empty_timeout_s,
            departure_timeout=departure_timeout_s,
        )
        return await _call("CreateRoom", self._api.room.create_room(request))

    async def delete_room(self, name: str) -> None:
        """Close a room and remove everyone from it; `NotFound` if there is none."""
        await _call("DeleteRoom", self._api.room.delete_room(room.DeleteRoomRequest(room=name)))

    async def room_exists(self, name: str) -> bool:
        """True if the server has such a room. Proves address and key as well."""
        found = await _call("ListRooms", self._api.room.list_rooms(room.ListRoomsRequest(names=[name])))
        return bool(found.rooms)

    async def participants(self, name: str) -> list[models.ParticipantInfo]:
        """Everyone in the room; empty where there is no such room."""
        found = await _call(
            "ListParticipants",
            self._api.room.list_participants(room.ListParticipantsRequest(room=name)),
        )
        return list(found.participants)

    async def remove_participant(self, name: str, identity: str) -> None:
        """Remove one participant; `NotFound` if it has left."""
        request = room.RoomParticipantIdentity(room=name, identity=identity)
        await _call("RemoveParticipant", self._api.room.remove_participant(request))

    async def dispatches(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        """The dispatches of a room that exists; a missing room takes 3 s and raises, retryable."""
        found = await _call("ListDispatch", self._api.agent_dispatch.list_dispatch(name))
        return list(found)

    async def create_dispatch(
        self, name: str, *, agent_name: str, metadata: str, attributes: dict[str, str]
    ) -> agent_dispatch.AgentDispatch:
        """Dispatch an agent; not idempotent, so look before a second try."""
        request = agent_dispatch.CreateAgentDispatchRequest(
            room=name,
            agent_name=agent_name,
            metadata=metadata,
            attributes=attributes,
            # On LiveKit Cloud a dispatch would otherwise be restarted behind our back.
            restart_policy=agent_dispatch.JobRestartPolicy.JRP_NEVER,
        )
        return await _call("CreateDispatch", self._api.agent_dispatch.create_dispatch(request))

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        """Withdraw a dispatch: its agent is sent away, also one that has not connected yet."""
        await _call("DeleteDispatch", self._api.agent_dispatch.delete_dispatch(dispatch_id, name))


async def _call(method: str, call: Awaitable[T]) -> T:
    started = time.perf_counter()
    result = "ok"
    try:
        return await call
    except api.ServerError as error:
        result = str(error.status)
        raise _classed(method, error) from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        result = "timeout" if isinstance(error, asyncio.TimeoutError) else "unreachable"
        raise LiveKitError(
            f"{method}: LiveKit can't be reached: {error!r}",
            cause=Cause.LIVEKIT_UNREACHABLE,
            retryable=True,
            uncertain=not isinstance(error, aiohttp.ClientConnectorError),
        ) from error
    finally:
        CALLS.labels(method, result).inc()
        CALL_SECONDS.labels(method).observe(time.perf_counter() - started)


def _classed(method: str, error: api.ServerError) -> LiveKitError:
    if error.status in (401, 403):
        # The body of a 401 repeats the token: it must not get into a log.
        return LiveKitError(
            f"{method}: LiveKit refused the key, the secret or the token's time ({error.status})",
            cause=Cause.LIVEKIT_AUTH,
            retryable=False,
            uncertain=False,
        )
    detail = f"{method}: {error.code} ({error.status}): {error.message}"
    if error.status == 404:
        return NotFound(detail, cause=Cause.ROOM_CLOSED, retryable=False, uncertain=False)
    if error.status in (408, 429) or error.status >= 500:
        return LiveKitError(
            detail, cause=Cause.LIVEKIT_UNREACHABLE, retryable=True, uncertain=error.status != 429
        )
    return LiveKitError(detail, cause=Cause.UNKNOWN, retryable=False, uncertain=False)


def is_agent(participant: models.ParticipantInfo, agent_name: str) -> bool:
    """True for an agent of this name, and not for an avatar that publishes on its behalf.

    `lk.agent_name` is stamped by the server after the worker's own attributes, for every SDK.
    """
    attributes = participant.attributes
    return (
        participant.kind == models.ParticipantInfo.Kind.AGENT
        and attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE) == agent_name
        and LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE not in attributes
    )


def is_active(participant: models.ParticipantInfo) -> bool:
    """True once the participant's media is connected."""
    return participant.state == models.ParticipantInfo.State.ACTIVE
