"""Look after a stream that groups read: measure how far behind they are and what was lost, and trim it.

It uses only commands of Redis 7.0, which has none for trimming the entries that every group has acknowledged.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prometheus_client import Counter, Gauge
from redis.asyncio import Redis

# How many entries Redis samples to measure a stream's memory; and how much is left free after a cut.
_SAMPLES = 100
_ROOM = 0.9
# Entries that every group has handled stay this long, for readers that follow the stream without a group.
KEEP_MS = 30_000

_BACKLOG = Gauge("stream_backlog_entries", "Entries that are not acknowledged.", ["stream", "group"])
_AGE = Gauge("stream_oldest_age_seconds", "Age of the oldest such entry.", ["stream", "group"])
_LOST_UNREAD = Gauge(
    "stream_lost_unread_entries", "Entries cut off before they were read.", ["stream", "group"]
)
_LOST_PENDING = Counter(
    "stream_lost_pending_total", "Entries cut off before they were acknowledged.", ["stream", "group"]
)
_RECREATED = Counter(
    "stream_groups_recreated_total",
    "Groups created again because Redis came back empty.",
    ["stream", "group"],
)
_TRIMMED = Counter(
    "stream_trimmed_total", "Entries removed because every group had handled them.", ["stream"]
)


@dataclass(frozen=True)
class GroupState:
    """The progress of a group: unacknowledged entries, the age of the oldest, and lost entries."""

    backlog: int
    oldest_age_s: float
    lost_unread: int


def lost_pending(stream: str, group: str, entries: int) -> None:
    """Count entries that were delivered, and were removed before their handler had finished."""
    _LOST_PENDING.labels(stream, group).inc(entries)


def recreated(stream: str, group: str) -> None:
    """Count a group that was gone."""
    _RECREATED.labels(stream, group).inc()


async def look_after(redis: Redis, stream: str, group: str) -> GroupState | None:
    """Trim the stream and gauge the group; return None if there is no group.

    Raises `RedisError` or `OSError`.
    """
    seconds, microseconds = await redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    await trim(redis, stream, now_ms=now_ms, keep_ms=KEEP_MS)
    state = await group_state(redis, stream, group, now_ms=now_ms)
    if state is not None:
        _LOST_PENDING.labels(stream, group)  # from 0 on
        _RECREATED.labels(stream, group)
        _BACKLOG.labels(stream, group).set(state.backlog)
        _AGE.labels(stream, group).set(state.oldest_age_s)
        _LOST_UNREAD.labels(stream, group).set(state.lost_unread)
    return state


async def trim(redis: Redis, stream: str, *, now_ms: int, keep_ms: int) -> int:
    """Remove entries that every group has acknowledged and that are older than `keep_ms`; return how many."""
    # Read the groups first: entries delivered between the two commands are pending, and above the floor.
    groups: Any = await redis.xinfo_groups(stream)
    if not groups:
        return 0
    floor = (now_ms - keep_ms, 0)
    for group in groups:
        pending: Any = await redis.xpending(stream, group["name"])
        milliseconds, counter = _parsed(group["last-delivered-id"])
        floor = min(floor, _parsed(pending["min"]) if pending["pending"] else (milliseconds, counter + 1))
    removed = int(await redis.xtrim(stream, minid=f"{floor[0]}-{floor[1]}", approximate=False))
    _TRIMMED.labels(stream).inc(removed)
    return removed


async def cut_to_age(redis: Redis, stream: str, age: timedelta) -> int:
    """Remove older entries, read or not; return how many. Raises `RedisError` or `OSError`."""
    seconds, _ = await redis.time()
    oldest_ms = max(0, seconds * 1000 - age // timedelta(milliseconds=1))
    return int(await redis.xtrim(stream, minid=f"{oldest_ms}-0", approximate=False))


async def cut_to_bytes(redis: Redis, stream: str, most: int) -> int:
    """Remove the oldest entries until the stream needs no more memory than allowed; return how many.

    Redis estimates memory from samples, so this goes in steps. Raises `RedisError` or `OSError`.
    """
    removed = 0
    while (size := int(await redis.memory_usage(stream, samples=_SAMPLES) or 0)) > most:
        length = int(await redis.xlen(stream))
        kept = min(length - 1, int(length * most / size * _ROOM))
        removed += int(await redis.xtrim(stream, maxlen=max(0, kept), approximate=False))
        if length <= 1:
            break
    return removed


async def group_state(redis: Redis, stream: str, name: str, *, now_ms: int) -> GroupState | None:
    """Return the group's progress; None if there is no group. Raises `RedisError` or `OSError`."""
    groups: Any = await redis.xinfo_groups(stream)
    group = next((found for found in groups if found["name"] == name), None)
    if group is None:
        return None
    delivered = group["last-delivered-id"]
    length = int(await redis.xlen(stream))
    first: Any = await redis.xrange(stream, count=1)
    unread: Any = await redis.xrange(stream, min=f"({delivered}", count=1)
    pending: Any = await redis.xpending(stream, name)
    # Redis computes the lag from the number of entries ever added. After a deletion from the middle, it no
    # longer knows the lag.
    lag = length if group["lag"] is None and unread else int(group["lag"] or 0)
    all_unread = not first or _parsed(first[0][0]) > _parsed(delivered)
    oldest = [_parsed(entry_id) for entry_id, _ in unread]
    if pending["pending"]:
        oldest.append(_parsed(pending["min"]))
    age_ms = max(0, now_ms - min(oldest)[0]) if oldest else 0
    return GroupState(
        backlog=lag + int(pending["pending"]),
        oldest_age_s=age_ms / 1000,
        lost_unread=max(0, lag - length) if all_unread else 0,
    )


def _parsed(entry_id: str) -> tuple[int, int]:
    milliseconds, _, counter = entry_id.partition("-")
    return int(milliseconds), int(counter)
