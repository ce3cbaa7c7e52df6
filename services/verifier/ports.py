"""What the verifier needs from other parts."""

from collections.abc import Sequence
from typing import Protocol

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo, Room


class Rooms(Protocol):
    """LiveKit's rooms and dispatches; every call raises `LiveKitError`."""

    async def rooms(self, names: Sequence[str] = ()) -> list[Room]:
        """Return the rooms that the server has: those of these names, or all."""

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

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        """Withdraw a dispatch; its agent is sent away, even before it has connected."""

    async def set_room_metadata(self, name: str, metadata: str) -> None:
        """Set the room's metadata, which everyone in it is told. Raises `NotFound` if there is none."""

    async def delete_room(self, name: str) -> None:
        """Close a room, and remove everyone from it. Raises `NotFound` if there is none."""
