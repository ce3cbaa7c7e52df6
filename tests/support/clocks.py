"""Processes whose clock is wrong."""

import ctypes.util
from pathlib import Path

_FOLDERS = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))


def clock_off_by(hours: int) -> dict[str, str]:
    """Return variables that set a process's clock off by so many hours; its monotonic clock stays right.

    Raises `FileNotFoundError` where libfaketime is not installed (`requirements/tests.sh` does it).
    """
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME": f"{hours:+d}h",
        # If the monotonic clock is faked too, Python's timed waits never end.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Its correction of timed waits makes each switch between two threads ten times slower.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def _library() -> Path:
    for folder in _FOLDERS:
        for found in folder.glob("**/faketime/libfaketimeMT.so.1"):
            return found
    if named := ctypes.util.find_library("faketimeMT"):
        return Path(named)
    raise FileNotFoundError("libfaketime is missing: run requirements/tests.sh")
