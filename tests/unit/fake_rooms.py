"""A hand-written LiveKit: rooms, participants and dispatches in memory, for the services' `Rooms` ports."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from livekit.protocol.agent import Job, JobState, JobStatus
from livekit.protocol.agent_dispatch import AgentDispatch, AgentDispatchState, RoomAgentDispatch
from livekit.protocol.models import ParticipantInfo, Room

from shared.contracts.causes import Cause
from shared.platform.livekit.client import LiveKitError, NotFound


def unreachable(*, uncertain: bool = False) -> LiveKitError:
    """What the adapter raises where LiveKit doesn't answer."""
    return LiveKitError(
        "LiveKit can't be reached", cause=Cause.LIVEKIT_UNREACHABLE, retryable=True, uncertain=uncertain
    )


def refused_key() -> LiveKitError:
    """What the adapter raises for a wrong key."""
    return LiveKitError("401", cause=Cause.LIVEKIT_AUTH, retryable=False, uncertain=False)


def not_found() -> NotFound:
    """What the adapter raises for what is gone."""
    return NotFound("404", cause=Cause.ROOM_CLOSED, retryable=False, uncertain=False)


class FakeRooms:
    """Behaves as livekit-server 1.13.5 was measured to; `calls` are the calls so far, in order.

    A failure in `fails_next` is raised once by the method of that name; `after_effect` names the methods
    whose failure comes only after the call has done its work, as with an answer that got lost. `down` fails
    every call; `known_down` says that an earlier call noticed this.
    """

    def __init__(self) -> None:
        self.sids: dict[str, str] = {}  # name to sid
        self.people: dict[str, list[ParticipantInfo]] = {}
        self.in_force: dict[str, list[AgentDispatch]] = {}
        self.metadata: dict[str, str] = {}  # by room; kept when it is closed
        self.calls: list[str] = []
        self.fails_next: dict[str, LiveKitError] = {}
        self.down: LiveKitError | None = None
        self.known_down = False
        self.after_effect: set[str] = set()
        self.ghosts: set[str] = set()  # identities that stay when their dispatch is deleted
        self.drops_agents_of_rooms = False
        self.meanwhile: dict[str, Callable[[], Awaitable[None]]] = {}  # happens once, before the effect
        self.afterwards: dict[str, Callable[[], Awaitable[None]]] = {}  # happens once, after it
        self.fails_last: dict[str, LiveKitError] = {}  # after all of that
        self._made = 0
        self._rooms_made = 0

    def open_room(self, name: str, *people: ParticipantInfo) -> None:
        if name not in self.sids:
            self._rooms_made += 1
            self.sids[name] = f"RM_{self._rooms_made}"
        self.people.setdefault(name, []).extend(people)

    def add_dispatch(
        self,
        name: str,
        attributes: dict[str, str],
        *,
        agent_name: str = "agent",
        metadata: str = "",
        deployment: str = "",
    ) -> AgentDispatch:
        self._made += 1
        dispatch = AgentDispatch(
            id=f"AD_{self._made}",
            agent_name=agent_name,
            room=name,
            metadata=metadata,
            attributes=attributes,
            deployment=deployment,
            state=AgentDispatchState(),
        )
        self.in_force.setdefault(name, []).append(dispatch)
        return dispatch

    def give_job(
        self, dispatch: AgentDispatch, identity: str, status: JobStatus = JobStatus.JS_RUNNING
    ) -> AgentDispatch:
        """The job of a dispatch as LiveKit shows it; without an identity it was turned down."""
        state = JobState(status=status, participant_identity=identity)
        dispatch.state.jobs.append(Job(id=f"AJ_{identity}", state=state))
        return dispatch

    def identities(self, name: str) -> list[str]:
        return [participant.identity for participant in self.people.get(name, [])]

    async def _begin(self, method: str) -> None:
        self.calls.append(method)
        if method in self.meanwhile:
            await self.meanwhile.pop(method)()
        if self.down is not None:
            raise self.down
        if method in self.fails_next and method not in self.after_effect:
            raise self.fails_next.pop(method)

    def _end(self, method: str) -> None:
        if method in self.fails_next and method in self.after_effect:
            raise self.fails_next.pop(method)

    @property
    def why_away(self) -> dict[str, Any]:
        return {"error": "LiveKit can't be reached"} if self.known_down else {}

    async def answers(self) -> bool:
        return not self.known_down

    async def create_room(
        self,
        name: str,
        *,
        agents: list[RoomAgentDispatch],
        empty_timeout_s: int,
        departure_timeout_s: int,
    ) -> Room:
        await self._begin("create_room")
        if name not in self.sids:
            self.open_room(name)
            if not self.drops_agents_of_rooms:
                for agent in agents:
                    self.add_dispatch(
                        name,
                        dict(agent.attributes),
                        agent_name=agent.agent_name,
                        metadata=agent.metadata,
                        deployment=agent.deployment,
                    )
        self._end("create_room")
        return self._room(name)

    def _room(self, name: str) -> Room:
        return Room(name=name, sid=self.sids[name])

    async def rooms(self, names: Sequence[str] = ()) -> list[Room]:
        await self._begin("rooms")
        return [self._room(name) for name in sorted(self.sids) if not names or name in names]

    async def room(self, name: str) -> Room | None:
        await self._begin("room")
        return self._room(name) if name in self.sids else None

    async def room_exists(self, name: str) -> bool:
        await self._begin("room_exists")
        return name in self.sids

    async def set_room_metadata(self, name: str, metadata: str) -> None:
        await self._begin("set_room_metadata")
        if name not in self.sids:
            raise not_found()
        self.metadata[name] = metadata

    async def delete_room(self, name: str) -> None:
        await self._begin("delete_room")
        if name not in self.sids:
            raise not_found()
        del self.sids[name]
        self.people.pop(name, None)
        self.in_force.pop(name, None)

    async def participants(self, name: str) -> list[ParticipantInfo]:
        await self._begin("participants")
        return list(self.people.get(name, []))

    async def remove_participant(self, name: str, identity: str) -> None:
        await self._begin("remove_participant")
        if identity not in self.identities(name):
            raise not_found()
        self.people[name] = [p for p in self.people[name] if p.identity != identity]

    async def dispatches(self, name: str) -> list[AgentDispatch]:
        await self._begin("dispatches")
        if name not in self.sids:
            raise unreachable(uncertain=True)
        return list(self.in_force.get(name, []))

    async def create_dispatch(
        self, name: str, *, agent_name: str, metadata: str, attributes: dict[str, str], deployment: str = ""
    ) -> AgentDispatch:
        await self._begin("create_dispatch")
        if name not in self.sids:
            raise unreachable(uncertain=True)
        dispatch = self.add_dispatch(
            name, attributes, agent_name=agent_name, metadata=metadata, deployment=deployment
        )
        self._end("create_dispatch")
        if "create_dispatch" in self.afterwards:
            await self.afterwards.pop("create_dispatch")()
        if "create_dispatch" in self.fails_last:
            raise self.fails_last.pop("create_dispatch")
        return dispatch

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        await self._begin("delete_dispatch")
        found = [d for d in self.in_force.get(name, []) if d.id == dispatch_id]
        if not found:
            raise not_found()
        self.in_force[name] = [d for d in self.in_force[name] if d.id != dispatch_id]
        sent_away = {job.state.participant_identity for job in found[0].state.jobs} - self.ghosts
        self.people[name] = [p for p in self.people.get(name, []) if p.identity not in sent_away]
