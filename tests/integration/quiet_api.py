"""The API without the work that it does by itself, which is half of what starting one takes.

Most tests of routes start an API for one or two requests. A test that waits for its housekeeping or its
forecast is marked `whole_api`.
"""

import sys
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from shared.platform.background import Loop, running

NOT_NEEDED: Final = frozenset({"forecast", "growth", "housekeeping"})


def quieten_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every API of this process start without its housekeeping and its forecast."""
    if (bootstrap := sys.modules.get("services.api.bootstrap")) is not None:
        monkeypatch.setattr(bootstrap, "running", _only_what_is_needed)


def _only_what_is_needed(**loops: Loop) -> AbstractAsyncContextManager[None]:
    return running(**{name: loop for name, loop in loops.items() if name not in NOT_NEEDED})
