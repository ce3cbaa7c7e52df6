"""Time limits of the product that a stalled machine can reach although nothing is wrong.

A test of a success gets long limits. A test that waits for such a limit is marked `product_limits`.
"""

import sys
from typing import Final

import pytest

from shared.platform.redis.client import connect_redis

LONG_S: Final = 300.0
# By name: a feature's tests need not load the modules of all others, such as livekit-agents.
LIMITS: Final = (
    ("rollcall_agent.job.fence", "READ_TIMEOUT_S"),
    ("services.agent.inference", "TIMEOUT_S"),
    ("services.agent.preflight", "TIMEOUT_S"),
    ("services.api.health.checks", "CHECK_TIMEOUT_S"),
    ("services.api.health.checks", "LOOK_TIMEOUT_S"),
    ("services.verifier.admit.admission", "PROBE_TIMEOUT_S"),
    ("services.verifier.repository", "GIVE_BACK_S"),
    ("shared.core.database_ready", "CHECK_TIMEOUT_S"),
    ("shared.platform.livekit.client", "CALL_TIMEOUT_S"),
    ("shared.platform.livekit.client", "CLOCK_TIMEOUT_S"),
    ("shared.platform.livekit.client", "PROBE_TIMEOUT_S"),
    ("shared.platform.database.postgres", "CONNECT_TIMEOUT_S"),
    ("shared.platform.lease", "GIVE_BACK_S"),
)


def lengthen_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the code wait longer for a database, Redis, LiveKit or a model that answers late."""
    for module, name in LIMITS:
        if (loaded := sys.modules.get(module)) is not None:
            monkeypatch.setattr(loaded, name, LONG_S)
    defaults = connect_redis.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout_s", LONG_S)
