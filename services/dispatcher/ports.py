"""What the dispatcher needs from other parts."""

from typing import Any, Protocol

from livekit.protocol.agent_dispatch import AgentDispatch, RoomAgentDispatch
from livekit.protocol.models import ParticipantInfo, Room


class Rooms(Protocol):
    """LiveKit's rooms and dispatches; every call but `answers` raises `LiveKitError`."""

    @property
    def why_away(self) -> dict[str, Any]:
        """The evidence of the last call that found the server down; empty if it is not down."""

    async def answers(self) -> bool:
        """Return False while the server is known to be down."""

    async def create_room(
        self,
        name: str,
        *,
        agents: list[RoomAgentDispatch],
        empty_timeout_s: int,
        departure_timeout_s: int,
    ) -> Room:
        """Create a room with a dispatch for each of `agents`, or return the existing room.

        An existing room gets no dispatch. Both times are in seconds.
        """

    async def room(self, name: str) -> Room | None:
        """Return the room as the server has it now; None if there is none."""

    async def room_exists(self, name: str) -> bool:
        """Return whether there is a room of this name."""

    async def participants(self, name: str) -> list[ParticipantInfo]:
        """Return everyone in the room; empty if there is no such room."""

    async def remove_participant(self, name: str, identity: str) -> None:
        """Remove one participant. Raises `NotFound` if it has left."""

    async def dispatches(self, name: str) -> list[AgentDispatch]:
        """Return the dispatches of a room that exists. A missing room takes 3 s, and raises."""

    async def create_dispatch(
        self,
        name: str,
        *,
        agent_name: str,
        metadata: str,
        attributes: dict[str, str],
        deployment: str = "",
    ) -> AgentDispatch:
        """Dispatch an agent. Not idempotent: look at `dispatches` before a second try."""

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        """Withdraw a dispatch; its agent is sent away, even before it has connected."""
