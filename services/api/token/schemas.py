"""The JSON of LiveKit's TokenSource protocol, as its SDKs write and read it.

A request is proto JSON: names in snake_case or camelCase, null means absent, and unknown names are ignored.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.contracts.names import AgentName, Deployment, Name, Text

_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


PersonName = Annotated[Name, BeforeValidator(_stripped)]


class ProtoJson(BaseModel):
    """A message. An empty field counts as absent, like protobuf's default values."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {_snake_case(name): each for name, each in value.items() if each not in (None, "")}


def _snake_case(name: Any) -> Any:
    return _HUMP.sub(r"_\1", name).lower() if isinstance(name, str) else name


class AgentWish(ProtoJson):
    """The agent that the caller wants; never copied into the token."""

    model_config = ConfigDict(extra="allow")

    agent_name: AgentName | None = None
    metadata: Text | None = Field(
        None, description="the session's metadata: a JSON object, or any other text"
    )
    deployment: Deployment | None = None


class RoomConfig(ProtoJson):
    """LiveKit's RoomConfiguration. Only its agent has a meaning here."""

    model_config = ConfigDict(extra="allow")

    name: str | None = Field(None, description="may not be set")
    egress: Any = Field(None, description="may not be set")
    agents: list[AgentWish] = Field([], description="at most one")


class TokenRequest(ProtoJson):
    """LiveKit's TokenSourceRequest; all fields are optional."""

    room_name: str | None = Field(None, description="may not be set: each token is for a new room")
    participant_name: PersonName | None = None
    participant_identity: Name | None = None
    participant_metadata: Text | None = None
    participant_attributes: dict[Text, Text] = {}
    room_config: RoomConfig = RoomConfig()

    def ignored(self) -> list[str]:
        """The names of the fields that are set and have no meaning here."""
        config = self.room_config
        names = [f"room_config.{name}" for name in _set_in(config)]
        for number, agent in enumerate(config.agents):
            names += [f"room_config.agents.{number}.{name}" for name in _set_in(agent)]
        return names


def _set_in(message: ProtoJson) -> list[str]:
    known = _IGNORED[type(message)]
    return sorted(name for name, value in (message.model_extra or {}).items() if value and name in known)


# LiveKit's other fields. Fields that LiveKit does not know either are ignored silently.
_IGNORED: Final[dict[type[ProtoJson], frozenset[str]]] = {
    AgentWish: frozenset({"restart_policy", "attributes"}),
    RoomConfig: frozenset(
        {
            "empty_timeout",
            "departure_timeout",
            "max_participants",
            "metadata",
            "min_playout_delay",
            "max_playout_delay",
            "sync_streams",
            "tags",
        }
    ),
}


class ListenerGranted(BaseModel):
    """How to listen in: join `room_name` at `server_url` with the token, until `join_until`."""

    server_url: str
    participant_token: str
    room_name: str
    join_until: datetime


class TokenGranted(BaseModel):
    """LiveKit's TokenSourceResponse, with more fields, which its SDKs skip.

    The session is `reserved`: its agent is dispatched when the caller joins, which is possible until
    `expires_at`. `ignored` names the fields of the request that have no meaning here.
    """

    server_url: str
    participant_token: str
    participant_name: str | None
    room_name: str
    session_id: str
    expires_at: datetime
    events_url: str
    ignored: list[str]
