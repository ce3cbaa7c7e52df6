"""How a participant leaves a LiveKit room: `livekit.DisconnectReason` of its protocol, in small letters.

As livekit-server 1.13.5 tells it (pkg/rtc/types/interfaces.go), and as the SDK tells the agent itself.
"""

from typing import Final

GOODBYE: Final = "client_initiated"  # the participant itself has left; an agent that raised does so too
AGENT_ERROR: Final = "agent_error"  # likewise, and it says that it failed
CONNECTION_TIMEOUT: Final = "connection_timeout"  # killed, or its network is gone: told after some 20 s
SIGNAL_CLOSE: Final = "signal_close"
JOIN_FAILURE: Final = "join_failure"
ROOM_DELETED: Final = "room_deleted"  # by a call; a room that LiveKit closes by itself says `room_closed`
