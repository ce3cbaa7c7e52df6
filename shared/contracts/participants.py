"""Decide which participants of a LiveKit room stand for a person, on the server and in the SDK."""

from typing import Final

# ParticipantInfo.Kind of livekit-protocol 1.50: INGRESS, EGRESS and AGENT. Only these three are machines.
# STANDARD, SIP, CONNECTOR and BRIDGE are people, and so is a kind that LiveKit adds later. A list of the
# people's numbers is impossible: in the Python RTC SDK (1.1.21), CONNECTOR and BRIDGE are 5 and 6, on the
# server 7 and 8.
_MACHINES: Final = frozenset({1, 2, 4})


def stands_for_person(kind: int, *, hidden: bool = False, recorder: bool = False) -> bool:
    """Return whether the participant may be a session's caller.

    `kind` is the number in either enumeration. A participant that the room doesn't show (`hidden`) and a
    `recorder` talk to nobody, whatever their kind.
    """
    return kind not in _MACHINES and not hidden and not recorder
