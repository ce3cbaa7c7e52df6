"""What the dispatcher needs of others."""

from typing import Any, Protocol

from livekit.protocol.agent_dispatch import AgentDispatch, RoomAgentDispatch
from livekit.protocol.models import ParticipantInfo, Room


class Rooms(Protocol):
    """LiveKit's rooms and dispatches; every call but `answers` raises `LiveKitError`."""

    @property
    def why_away(self) -> dict[str, Any]: ...

    async def answers(self) -> bool: ...

    async def create_room(
        self,
        name: str,
        *,
        agents: list[RoomAgentDispatch],
        empty_timeout_s: int,
        departure_timeout_s: int,
    ) -> Room: ...

    async def room(self, name: str) -> Room | None: ...

    async def room_exists(self, name: str) -> bool: ...

    async def participants(self, name: str) -> list[ParticipantInfo]: ...

    async def remove_participant(self, name: str, identity: str) -> None: ...

    async def dispatches(self, name: str) -> list[AgentDispatch]: ...

    async def create_dispatch(
        self,
        name: str,
        *,
        agent_name: str,
        metadata: str,
        attributes: dict[str, str],
        deployment: str = "",
    ) -> AgentDispatch: ...

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None: ...
