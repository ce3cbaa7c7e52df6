"""Agents of workers without an `agent_name`, which LiveKit sends into rooms by itself.

A room that is created by a join or by `CreateDispatch` gets a dispatch with an empty name, which any unnamed
worker of the LiveKit project takes (pkg/rtc/room.go, livekit-server 1.13.5). So a second agent, which nobody
requested, speaks beside the session's own.
"""

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo

from shared.contracts.keys import LIVEKIT_AGENT_NAME_ATTRIBUTE, LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE


def is_unnamed_agent(participant: ParticipantInfo) -> bool:
    """Return whether LiveKit sent this agent by itself; False for avatars and agents dispatched by name.

    LiveKit sets `lk.agent_name` on every agent, even if the name is empty.
    """
    attributes = participant.attributes
    return (
        participant.kind == ParticipantInfo.Kind.AGENT
        and attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE) == ""
        and LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE not in attributes
    )


def is_automatic(dispatch: AgentDispatch) -> bool:
    """Return whether LiveKit made this dispatch by itself; such a dispatch has no metadata or attributes."""
    return not (dispatch.agent_name or dispatch.metadata or dispatch.attributes)
