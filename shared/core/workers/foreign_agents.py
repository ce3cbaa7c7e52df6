"""Agents of workers without an `agent_name`: LiveKit sends them into rooms without being asked.

A room that is made by joining it, or by `CreateDispatch`, gets a dispatch with an empty name, and every
unnamed worker of the LiveKit project takes it (pkg/rtc/room.go, livekit-server 1.13.5). So a second agent
speaks beside the session's own, and nobody has asked for it.
"""

from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo

from shared.contracts.keys import LIVEKIT_AGENT_NAME_ATTRIBUTE, LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE


def is_unnamed_agent(participant: ParticipantInfo) -> bool:
    """True for an agent that was sent by itself; not for an avatar, nor for one dispatched by its name.

    LiveKit stamps `lk.agent_name` on every agent, also where the name is empty.
    """
    attributes = participant.attributes
    return (
        participant.kind == ParticipantInfo.Kind.AGENT
        and attributes.get(LIVEKIT_AGENT_NAME_ATTRIBUTE) == ""
        and LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE not in attributes
    )


def is_automatic(dispatch: AgentDispatch) -> bool:
    """True for the dispatch that LiveKit makes by itself; nobody could give it metadata or attributes."""
    return not (dispatch.agent_name or dispatch.metadata or dispatch.attributes)
