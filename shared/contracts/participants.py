"""Who in a LiveKit room stands for a person: the one answer, for the server's participants and the SDK's."""

from typing import Final

# ParticipantInfo.Kind of livekit-protocol 1.50: INGRESS, EGRESS and AGENT. Only these three are machines, so
# a kind that LiveKit adds later is a person, as STANDARD, SIP, CONNECTOR and BRIDGE are. The people's numbers
# can't be listed: the Python RTC SDK (1.1.21) counts CONNECTOR and BRIDGE as 5 and 6, the server as 7 and 8.
_MACHINES: Final = frozenset({1, 2, 4})


def stands_for_person(kind: int, *, hidden: bool = False, recorder: bool = False) -> bool:
    """True for a participant that may be a session's caller.

    `kind` is the number in either enumeration. Somebody whom the room doesn't show (`hidden`), and a
    `recorder`, talk to nobody, whatever their kind.
    """
    return kind not in _MACHINES and not hidden and not recorder
