"""Check Redis: version, persistence, eviction."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.doctor.surroundings import Surroundings, reason_of
from shared.contracts.settings import RedisSettings
from shared.platform.redis.client import connect_redis

NAME: Final = "redis"
KEPT: Final = "redis: kept"
MEMORY: Final = "redis: memory"
OLDEST: Final = (7, 0)
FULL: Final = 0.9
# Longer than a service would wait: the doctor runs all checks at once, perhaps on a busy machine.
TIMEOUT_S: Final = 5.0


async def check_redis(surroundings: Surroundings) -> Sequence[Finding]:
    """Read the server's own information."""
    try:
        settings = surroundings.settings(RedisSettings)
    except ValidationError as invalid:
        return [failed(NAME, reason_of(invalid), "REDIS_URL=redis://[user:password@]host:6379/0")]
    redis = connect_redis(settings.redis_url, timeout_s=TIMEOUT_S)
    try:
        info: dict[str, Any] = await redis.info("everything")
        saves = await _saves(redis)
    except (RedisError, OSError) as error:
        fix = "start Redis 7.0 or later, or correct REDIS_URL"
        return [failed(NAME, f"{settings.redis_url} does not answer: {error}", fix)]
    finally:
        await redis.aclose()
    return [judge_server(settings.redis_url, info), judge_kept(info, saves=saves), judge_memory(info)]


async def _saves(redis: Redis) -> bool | None:
    with suppress(RedisError):  # a managed Redis may not show its configuration
        return bool((await redis.config_get("save")).get("save"))
    return None


def judge_server(url: str, info: Mapping[str, Any]) -> Finding:
    """Judge whether this is a primary of a known version; `info` is the answer to INFO."""
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    evidence = f"{name} at {url}"
    if info.get("role") == "slave":
        return failed(NAME, f"{evidence} is a replica", "name the primary in REDIS_URL")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        return failed(NAME, evidence, "Redis 7.0 or later, or Valkey, is needed")
    return passed(NAME, evidence)


def judge_kept(info: Mapping[str, Any], *, saves: bool | None) -> Finding:
    """Judge what a crash of Redis loses; `saves`: whether it takes snapshots, None if it does not say."""
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return failed(KEPT, "the append-only file can't be written", "look at Redis's disk and its log")
        return passed(KEPT, "append-only file: a crash loses at most a second")
    losing = "if Redis dies, turns on their way to the database are lost in Redis"
    if saves or (saves is None and info.get("rdb_saves")):
        return warned(KEPT, f"snapshots only: {losing}", "set appendonly yes")
    if saves is None:
        return skipped(KEPT, "this Redis does not show its configuration")
    return warned(KEPT, f"nothing is written to disk: {losing}", "set appendonly yes")


def judge_memory(info: Mapping[str, Any]) -> Finding:
    """Judge whether Redis deletes keys when its memory is full, and how full it is."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if policy != "noeviction" and limit:
        evidence = f"maxmemory-policy {policy}: Redis drops queues and turns when its memory is full"
        return failed(MEMORY, evidence, "set maxmemory-policy noeviction")
    if policy != "noeviction":
        return warned(MEMORY, f"maxmemory-policy {policy}", "set it to noeviction before a limit is set")
    if limit and used > FULL * limit:
        evidence = f"{used / limit:.0%} of maxmemory is used"
        return warned(MEMORY, evidence, "raise maxmemory, and look at what has grown: lag is in /metrics")
    return passed(MEMORY, f"noeviction, {used / 2**20:.0f} MB used")
