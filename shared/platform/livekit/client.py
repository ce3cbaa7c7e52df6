"""The LiveKit server's API: it classes every failure, limits the calls, and spares a server that is down.

It relies on these facts (livekit-server 1.13.5). A wrong key or secret gives a 401 without a Twirp body. For
a missing room, the dispatch calls block for 3 s and answer 503, but ListParticipants answers an empty list.
livekit-api 1.2 sets no time limit for a call, and with the session given here it makes each call once. So
time limits and retries are ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiolimiter import AsyncLimiter
from livekit import api
from livekit.protocol import agent_dispatch, models, room
from prometheus_client import Counter, Histogram

from shared.contracts.keys import (
    LIVEKIT_AGENT_NAME_ATTRIBUTE,
    LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE,
)
from shared.contracts.participants import stands_for_person
from shared.contracts.settings import LiveKitSettings
from shared.platform.breaker import Breaker
from shared.platform.livekit.errors import (
    NO_ANSWER,
    LiveKitError,
    NotFound,
    classed,
    not_asked,
    shown_url,
    unreachable,
)
from shared.platform.livekit.http import open_session
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Kind, failed, span

__all__ = ["NO_SUCH_ROOM", "LiveKit", "LiveKitError", "NotFound", "is_active", "is_agent", "is_caller"]

T = TypeVar("T")

# ListDispatch answers only after 3.0 s if a room's node is missing.
CALL_TIMEOUT_S = 4.0
CLOCK_TIMEOUT_S = 2.0
PROBE_TIMEOUT_S = 1.0
NO_SUCH_ROOM = "rollcall-probe"
# These calls answer 503 if a room's node is missing, which says nothing about the server.
_OF_A_ROOM = frozenset({"ListDispatch", "CreateDispatch", "DeleteDispatch"})

CALLS = Counter("livekit_api_calls_total", "LiveKit API calls.", ["method", "result"])
CALL_SECONDS = Histogram("livekit_api_call_seconds", "Duration of LiveKit API calls.", ["method"])
TURN_SECONDS = Histogram("livekit_api_turn_seconds", "How long calls waited because of LIVEKIT_CALLS_PER_S.")


class LiveKit:
    """The client of a process. Build it inside the loop that uses it, and `close()` it.

    All calls together stay within the rate of the settings. While the server is down, all calls but one a
    second fail at once.
    """

    def __init__(self, settings: LiveKitSettings) -> None:
        self._session = open_session(CALL_TIMEOUT_S)
        self._api = api.LiveKitAPI(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
            session=self._session,
        )
        scheme, _, rest = settings.livekit_url.partition("://")
        self.clock_url = f"{scheme.replace('ws', 'http')}://{rest}"
        self._host = urlsplit(self.clock_url).hostname
        self._shown_url = shown_url(settings.livekit_url)
        self._limiter = make_limiter(settings.livekit_calls_per_s)
        self._breaker = Breaker()
        self._probing = asyncio.Lock()
        self._last_failure: LiveKitError | None = None

    @property
    def why_away(self) -> dict[str, Any]:
        """Return the evidence of the last call that found the server down."""
        return {} if self._last_failure is None else self._last_failure.evidence

    async def close(self) -> None:
        """Close the connections."""
        await self._api.aclose()
        await self._session.close()

    async def answers(self) -> bool:
        """Return False while the server is known to be down. Once a second, this asks the server.

        A server that no call has found down is not asked.
        """
        async with self._probing:
            if self._breaker.probe_is_due:
                began = time.monotonic()
                try:
                    async with asyncio.timeout(PROBE_TIMEOUT_S):
                        await self.room_exists(NO_SUCH_ROOM)
                except TimeoutError as error:
                    # Callers that waited for this answer need not all ask again.
                    self._away(unreachable("ListRooms", error, url=self._shown_url), began)
                except LiveKitError:
                    pass
            return not self._breaker.is_open

    async def create_room(
        self,
        name: str,
        *,
        agents: list[agent_dispatch.RoomAgentDispatch],
        empty_timeout_s: int,
        departure_timeout_s: int,
    ) -> models.Room:
        """Create a room and dispatch `agents` to it. For an existing room, return it and dispatch nobody."""
        request = room.CreateRoomRequest(
            name=name,
            agents=agents,
            empty_timeout=empty_timeout_s,
            departure_timeout=departure_timeout_s,
        )
        return await self._call("CreateRoom", lambda: self._api.room.create_room(request))

    async def delete_room(self, name: str) -> None:
        """Close a room and remove everyone from it; raises `NotFound` if there is none."""
        await self._call("DeleteRoom", lambda: self._api.room.delete_room(room.DeleteRoomRequest(room=name)))

    async def set_room_metadata(self, name: str, metadata: str) -> None:
        """Set the metadata of a room, which everyone in it receives; raises `NotFound` if there is none."""
        request = room.UpdateRoomMetadataRequest(room=name, metadata=metadata)
        await self._call("UpdateRoomMetadata", lambda: self._api.room.update_room_metadata(request))

    async def room(self, name: str) -> models.Room | None:
        """Return the current room of this name. A later room of the same name has another sid."""
        found = await self.rooms([name])
        return found[0] if found else None

    async def rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        """Return the server's rooms; with `names`, only those of these names."""
        request = room.ListRoomsRequest(names=names)
        found = await self._call("ListRooms", lambda: self._api.room.list_rooms(request))
        return list(found.rooms)

    async def room_exists(self, name: str) -> bool:
        """Return whether the server has such a room. Success also proves the address and the key."""
        return await self.room(name) is not None

    async def participants(self, name: str) -> list[models.ParticipantInfo]:
        """Return everyone in the room; an empty list if there is no such room."""
        found = await self._call(
            "ListParticipants",
            lambda: self._api.room.list_participants(room.ListParticipantsRequest(room=name)),
        )
        return list(found.participants)

    async def remove_participant(self, name: str, identity: str) -> None:
        """Remove one participant; raises `NotFound` if it has left."""
        request = room.RoomParticipantIdentity(room=name, identity=identity)
        await self._call("RemoveParticipant", lambda: self._api.room.remove_participant(request))

    async def dispatches(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        """Return the dispatches of an existing room.

        For a missing room it takes 3 s and raises a retryable error.
        """
        found = await self._call("ListDispatch", lambda: self._api.agent_dispatch.list_dispatch(name))
        return list(found)

    async def create_dispatch(
        self, name: str, *, agent_name: str, metadata: str, attributes: dict[str, str], deployment: str = ""
    ) -> agent_dispatch.AgentDispatch:
        """Dispatch an agent. This is not idempotent: look at the dispatches before a second try."""
        request = agent_dispatch.CreateAgentDispatchRequest(
            room=name,
            agent_name=agent_name,
            metadata=metadata,
            attributes=attributes,
            deployment=deployment,
            # Otherwise LiveKit Cloud would restart a dispatch without telling us.
            restart_policy=agent_dispatch.JobRestartPolicy.JRP_NEVER,
        )
        return await self._call("CreateDispatch", lambda: self._api.agent_dispatch.create_dispatch(request))

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        """Withdraw a dispatch. Its agent has to leave, even if it has not connected yet."""
        await self._call(
            "DeleteDispatch", lambda: self._api.agent_dispatch.delete_dispatch(dispatch_id, name)
        )

    async def _call(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        attributes = {names.RPC_METHOD: method, names.SERVER_ADDRESS: self._host}
        with span(f"LiveKit {method}", kind=Kind.CLIENT, attributes=attributes):
            try:
                return await self._ask(method, call)
            except LiveKitError as error:
                failed(error.cause)
                raise

    async def _ask(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._breaker.is_open and not self._breaker.probe_is_due:
            raise self._not_asked(method)
        waited_from = time.perf_counter()
        async with self._limiter:
            TURN_SECONDS.observe(time.perf_counter() - waited_from)
        # The server may have gone down in the meantime.
        if not self._breaker.lets_through():
            raise self._not_asked(method)
        began = time.monotonic()
        try:
            answer = await _timed(method, call())
        except api.ServerError as error:
            self._note_answer(method, error, began)
            skew = await self._clock_skew_s() if error.status == 401 else None
            raise classed(method, error, clock_skew_s=skew) from error
        except NO_ANSWER as error:
            raise self._away(unreachable(method, error, url=self._shown_url), began) from error
        self._breaker.succeeded()
        return answer

    def _not_asked(self, method: str) -> LiveKitError:
        CALLS.labels(method, "not_asked").inc()
        return not_asked(method, self._last_failure)

    def _note_answer(self, method: str, error: api.ServerError, began: float) -> None:
        if error.status < 500:
            self._breaker.succeeded()
        elif not (error.status == 503 and method in _OF_A_ROOM):
            self._away(classed(method, error), began)

    def _away(self, failure: LiveKitError, began: float) -> LiveKitError:
        self._last_failure = failure
        self._breaker.failed(began=began)
        return failure

    async def _clock_skew_s(self) -> int | None:
        """Return how many seconds this host's clock is ahead of the server's.

        None if the server doesn't say.
        """
        async with self._limiter:
            pass
        timeout = aiohttp.ClientTimeout(total=CLOCK_TIMEOUT_S)
        try:
            async with self._session.get(self.clock_url, timeout=timeout) as answer:
                theirs = parsedate_to_datetime(answer.headers["Date"])
        except (TimeoutError, aiohttp.ClientError, OSError, KeyError, ValueError):
            return None
        return round(time.time() - theirs.timestamp())


def make_limiter(calls_per_s: float) -> AsyncLimiter:
    """Return a leaky bucket that holds the calls of one second, and at least one call."""
    return AsyncLimiter(max(calls_per_s, 1.0), max(1.0, 1.0 / calls_per_s))


async def _timed(method: str, call: Awaitable[T]) -> T:
    """Wait for the answer, at most `CALL_TIMEOUT_S`: no layer below sets a limit."""
    started = time.perf_counter()
    result = "cancelled"
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            answer = await call
        result = "ok"
    except api.ServerError as error:
        result = str(error.status)
        raise
    except TimeoutError:
        result = "timeout"
        raise
    except NO_ANSWER as error:
        result = "unreachable" if isinstance(error, aiohttp.ClientError | OSError) else "not_livekit"
        raise
    finally:
        CALLS.labels(method, result).inc()
        CALL_SECONDS.labels(method).observe(time.perf_counter() - started)
    return answer


def is_agent(participant: models.ParticipantInfo, agent_name: str) -> bool:
    """Return whether this is an agent of this name, and not an avatar that publishes on its behalf.

    The server sets `lk.agent_name` after the worker's own attributes, for every SDK.
    """
    attributes = participant.attributes
    return (
        participant.kind == models.ParticipantInfo.Kind.AGENT
        and attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE) == agent_name
        and LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE not in attributes
    )


def is_caller(participant: models.ParticipantInfo) -> bool:
    """Return whether the participant stands for a person; see `stands_for_person`."""
    permission = participant.permission
    return stands_for_person(participant.kind, hidden=permission.hidden, recorder=permission.recorder)


def is_active(participant: models.ParticipantInfo) -> bool:
    """Return whether the participant's media is connected."""
    return participant.state == models.ParticipantInfo.State.ACTIVE
