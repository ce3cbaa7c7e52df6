"""How a participant leaves a LiveKit room: `livekit.DisconnectReason` of its protocol, in lower case.

From livekit-server 1.13.5 (pkg/rtc/types/interfaces.go), and from the SDK in the agent itself.
"""

from typing import Final

# the participant itself has left; an agent that raised leaves in the same way
GOODBYE: Final = "client_initiated"
AGENT_ERROR: Final = "agent_error"  # the same, and the agent says that it failed
# killed, or its network is gone; LiveKit reports it after about 20 s
CONNECTION_TIMEOUT: Final = "connection_timeout"
SIGNAL_CLOSE: Final = "signal_close"
JOIN_FAILURE: Final = "join_failure"
# by an API call; a room that LiveKit closes by itself gives `room_closed`
ROOM_DELETED: Final = "room_deleted"
