"""A session's fence: its current attempt, or that the session is over; and the job that has the attempt.

An agent that reads a later number than its own is late, and stays out of the room. The first job that takes
an attempt keeps it as long as it beats, and any other job stays out. LiveKit makes a second job of the same
dispatch if it stores its rooms in Redis and loses a node: the next participant who joins creates the room
again, with the agents it was created with, while the agent of the first job reconnects.
"""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.identifiers import SessionId
from shared.contracts.keys import FENCE_CLOSED, fence_key, job_fence_key
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

FENCE_TTL = timedelta(hours=24)
# The event loop of a starting job was seen to stand still for 2.5 s; one that is silent for this long is
# taken for dead by the verifier too (services/verifier/liveness.py).
JOB_FENCE_TTL = timedelta(seconds=6)

# ARGV: the value, its expiry in seconds, and the value of a closed fence.
_RAISE = """
local current = redis.call('GET', KEYS[1])
if current == ARGV[3] and ARGV[1] ~= ARGV[3] then return 0 end
local number, wanted = tonumber(current or ''), tonumber(ARGV[1])
if number and wanted and number > wanted then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Strings(Protocol):
    """The Redis commands that a fence needs."""

    def get(self, name: str) -> Awaitable[Any]:
        """Return the value of a key."""

    def set(self, name: str, value: str, *, nx: bool, px: int) -> Awaitable[Any]:
        """Set a key that does not exist, for so many milliseconds; return True if it was set."""

    def pexpire(self, name: str, time: int) -> Awaitable[Any]:
        """Let a key expire in so many milliseconds."""


async def set_fence(redis: Redis, session_id: str, value: int | str) -> None:
    """Keep late agents out: raise the fence to an attempt's number, or close it.

    A process that was delayed can't lower it. Without Redis, late agents join, and the verifier removes them.
    """
    args: list[str | int] = [value, int(FENCE_TTL.total_seconds()), FENCE_CLOSED]
    try:
        await redis.register_script(_RAISE)(keys=[fence_key(SessionId(session_id))], args=args)
    except (RedisError, OSError) as error:
        log.warning("fence_not_set", error=repr(error))


def is_behind(fence: str | bytes | None, attempt: int) -> bool:
    """Return whether a fence of this value keeps the attempt out. An unreadable value keeps nobody out."""
    if fence is None:
        return False
    if fence == FENCE_CLOSED:
        return True
    return isinstance(fence, str) and fence.isascii() and fence.isdigit() and int(fence) > attempt


async def take_attempt(redis: Strings, session_id: SessionId, attempt: int, job_id: str) -> bool:
    """Take the attempt for a job, or keep it for another `JOB_FENCE_TTL`; return False if another job has it.

    Raises `redis.exceptions.RedisError` or `OSError`.
    """
    key, milliseconds = job_fence_key(session_id, attempt), JOB_FENCE_TTL // timedelta(milliseconds=1)
    owner = await redis.get(key)
    if owner == job_id:
        await redis.pexpire(key, milliseconds)
        return True
    if owner is None and await redis.set(key, job_id, nx=True, px=milliseconds):
        return True
    return await redis.get(key) in (None, job_id)
