"""What the verifier needs of others."""

from collections.abc import Sequence
from typing import Protocol

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo, Room


class Rooms(Protocol):
    """LiveKit's rooms and dispatches; every call raises `LiveKitError`."""

    async def rooms(self, names: Sequence[str] = ()) -> list[Room]: ...

    async def room(self, name: str) -> Room | None: ...

    async def room_exists(self, name: str) -> bool: ...

    async def participants(self, name: str) -> list[ParticipantInfo]: ...

    async def remove_participant(self, name: str, identity: str) -> None: ...

    async def dispatches(self, name: str) -> list[AgentDispatch]: ...

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None: ...

    async def delete_room(self, name: str) -> None: ...
