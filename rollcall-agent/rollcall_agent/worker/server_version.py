"""Whether the LiveKit server is one that Rollcall works with."""

import re
from typing import Final

# The oldest version seen to keep a dispatch's attributes, which hold the order (livekit-server 1.13.5,
# pkg/rtc/room.go). Versions 1.9.11 and 1.11.0 know no attributes there, and drop them without an error.
OLDEST: Final = (1, 13)


def is_too_old(version: str) -> bool:
    """Return whether a server of this version drops the attributes of dispatches. An unknown one does not."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST
