"""Put one dispatch into LiveKit, and remove the session's earlier ones.

LiveKit doesn't know our attempts, and starts an agent for each dispatch. So an earlier attempt's dispatch is
deleted, and its agent is gone, before a new dispatch is made. Before repeating a call that may have taken
effect, the dispatcher looks for its result.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from livekit.protocol.agent_dispatch import AgentDispatch, RoomAgentDispatch

from services.dispatcher.claims import Claim
from services.dispatcher.ports import Rooms
from shared.contracts.dispatching import client_metadata
from shared.contracts.keys import ATTEMPT_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.core.workers.foreign_agents import is_automatic, is_unnamed_agent
from shared.platform.livekit.client import LiveKitError, NotFound
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

# LiveKit removes an agent about 0.1 s after its dispatch is deleted. An agent that is still listed after
# these pauses is dead, and LiveKit would keep listing it.
_DEPARTURE_CHECKS_S = (0.05, 0.1, 0.15)


@dataclass(frozen=True)
class Placed:
    """A dispatch, and the sid of its room: another room may get the same name later.

    `foreign` are the identities of agents that nobody dispatched and that were removed from the room.
    """

    dispatch_id: str
    room_sid: str
    foreign: Sequence[str] = ()


async def place_dispatch(
    claim: Claim, *, rooms: Rooms, empty_timeout_s: int, departure_timeout_s: int
) -> Placed:
    """Return this attempt's dispatch, either new or found. Raises `LiveKitError`."""
    name = claim.row.room_name
    order = claim.order
    metadata = client_metadata(claim.row.client_metadata)
    room = None if claim.fresh_room else await rooms.room(name)
    if room is None:
        log.info("room_absent", message=f"room {name} is not there yet: the dispatch makes it")
        # One call creates the room with its agent, and keeps unnamed workers out of it.
        ours = RoomAgentDispatch(
            agent_name=claim.row.agent_name,
            metadata=metadata,
            attributes=order.dispatch_attributes(),
            deployment=claim.deployment,
        )
        room = await rooms.create_room(
            name,
            agents=[ours],
            empty_timeout_s=empty_timeout_s,
            departure_timeout_s=departure_timeout_s,
        )
    dispatches = await rooms.dispatches(name)
    await _withdraw_earlier(claim, dispatches, rooms)
    found = [dispatch for dispatch in dispatches if order.is_of(dispatch.attributes)]
    if found:
        # There are several if two dispatchers worked on this attempt: the one that a worker has taken stays.
        found.sort(key=lambda dispatch: (not dispatch.state.jobs, dispatch.state.created_at))
        await _withdraw(name, [dispatch.id for dispatch in found[1:]], rooms)
        return Placed(found[0].id, room.sid)
    # The room already existed (the caller was faster), or LiveKit lost the agents of the request.
    created, foreign = await asyncio.gather(
        rooms.create_dispatch(
            name,
            agent_name=claim.row.agent_name,
            metadata=metadata,
            attributes=order.dispatch_attributes(),
            deployment=claim.deployment,
        ),
        _withdraw_automatic(claim, dispatches, rooms),
    )
    return Placed(created.id, room.sid, foreign)


async def withdraw_others(claim: Claim, *, kept: str | None, rooms: Rooms) -> None:
    """Withdraw every dispatch of this attempt except `kept`. Raises `LiveKitError`."""
    name = claim.row.room_name
    if not await rooms.room_exists(name):
        return
    dispatches = await rooms.dispatches(name)
    others = [one.id for one in dispatches if claim.order.is_of(one.attributes) and one.id != kept]
    await _withdraw(name, others, rooms)


async def _withdraw_automatic(claim: Claim, dispatches: list[AgentDispatch], rooms: Rooms) -> list[str]:
    """Remove agents of workers without a name from a room of ours, which `CreateRoom` would have kept out.

    Returns their identities. If such a job is just being assigned, LiveKit waits for it, and then removes its
    agent.
    """
    automatic = [dispatch for dispatch in dispatches if is_automatic(dispatch)]
    if not claim.row.room_is_ours or not automatic:
        return []
    name = claim.row.room_name
    try:
        foreign = list(filter(is_unnamed_agent, await rooms.participants(name)))
        for dispatch in automatic:
            await rooms.delete_dispatch(name, dispatch.id)
    except LiveKitError as error:
        # Only the session's own agent matters here; the verifier sees the other agents.
        log.warning("automatic_dispatch_not_withdrawn", error=str(error))
        return []
    jobs = {job.state.participant_identity for one in automatic for job in one.state.jobs}
    return sorted(({agent.identity for agent in foreign} | jobs) - {""})


async def _withdraw_earlier(claim: Claim, dispatches: list[AgentDispatch], rooms: Rooms) -> None:
    if claim.order.attempt == 1:
        return
    name = claim.row.room_name
    earlier = [dispatch for dispatch in dispatches if _is_earlier(dict(dispatch.attributes), claim)]
    identities = {job.state.participant_identity for d in earlier for job in d.state.jobs} - {""}
    await _withdraw(name, [dispatch.id for dispatch in earlier], rooms)
    for delay in _DEPARTURE_CHECKS_S:
        present = await _present(claim, identities, rooms)
        if not present:
            return
        await asyncio.sleep(delay)
    for identity in await _present(claim, identities, rooms):
        log.warning("earlier_agent_found", participant_identity=identity)
        try:
            await rooms.remove_participant(name, identity)
        except NotFound:
            continue


async def _withdraw(name: str, dispatch_ids: Sequence[str], rooms: Rooms) -> None:
    for dispatch_id in dispatch_ids:
        try:
            await rooms.delete_dispatch(name, dispatch_id)
        except NotFound:
            continue


async def _present(claim: Claim, identities: set[str], rooms: Rooms) -> set[str]:
    return {
        participant.identity
        for participant in await rooms.participants(claim.row.room_name)
        if participant.identity in identities or _is_earlier(dict(participant.attributes), claim)
    }


def _is_earlier(attributes: dict[str, str], claim: Claim) -> bool:
    """Return whether it is an earlier attempt's dispatch: a delayed dispatcher must not touch later ones."""
    if attributes.get(SESSION_ATTRIBUTE) != claim.order.session_id:
        return False
    attempt = attributes.get(ATTEMPT_ATTRIBUTE, "")
    return not (attempt.isascii() and attempt.isdigit()) or int(attempt) < claim.order.attempt
