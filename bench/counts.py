"""What the processes of a stack have counted: transactions, messages, Redis commands, LiveKit calls."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack
from shared.platform.redis.client import connect_redis

# What is counted, and the sample in the processes' metrics that counts it.
WRITES = "write transactions"
READS = "reads"
STATEMENTS = "statements"
LIVEKIT = "LiveKit calls"
TASKS = "Celery tasks"
WEBHOOKS = "webhooks"
EVENTS = "events"
REDIS = "Redis commands"
_SAMPLES = {
    ("database_session_seconds_count", "write"): WRITES,
    ("database_session_seconds_count", "read"): READS,
    ("database_statements_total", None): STATEMENTS,
    ("livekit_api_calls_total", None): LIVEKIT,
    ("celery_tasks_total", None): TASKS,
    ("livekit_webhooks_total", None): WEBHOOKS,
    ("outbox_events_published_total", None): EVENTS,
}
KINDS = (WRITES, READS, STATEMENTS, LIVEKIT, TASKS, REDIS, WEBHOOKS, EVENTS)

# Redis counts these too, but they are no work for a session.
_IDLE_COMMANDS = frozenset({"cmdstat_info", "cmdstat_ping", "cmdstat_client|setinfo", "cmdstat_hello"})


@dataclass
class Counts:
    """Counts by kind and process name; `of` sums a kind over the processes."""

    by_process: dict[str, dict[str, float]] = field(default_factory=dict)

    def of(self, kind: str) -> float:
        """The sum over all processes."""
        return sum(counts.get(kind, 0.0) for counts in self.by_process.values())

    def without(self, other: "Counts", times: float = 1.0) -> "Counts":
        """These counts less so many times the others."""
        return Counts(
            {
                name: {
                    kind: value - times * other.by_process.get(name, {}).get(kind, 0.0)
                    for kind, value in counts.items()
                }
                for name, counts in self.by_process.items()
            }
        )

    def each(self, divisor: float) -> "Counts":
        """These counts divided by the number of sessions or seconds."""
        return Counts(
            {
                name: {kind: value / divisor for kind, value in counts.items()}
                for name, counts in self.by_process.items()
            }
        )


async def read_counts(stack: Stack) -> Counts:
    """Read the metrics of every process of the stack, and Redis's own count."""
    counts: dict[str, dict[str, float]] = {}
    async with aiohttp.ClientSession(headers={"Accept": "text/plain"}) as http:
        for name, addresses in stack.metrics_addresses().items():
            for address in addresses:
                async with http.get(f"http://{address}/metrics") as response:
                    response.raise_for_status()
                    _add(counts.setdefault(name, {}), await response.text())
    counts["redis"] = {REDIS: await _redis_commands(stack.redis_url)}
    return Counts(counts)


def _add(counts: dict[str, float], metrics: str) -> None:
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            kind = _SAMPLES.get((sample.name, sample.labels.get("kind")))
            kind = kind or _SAMPLES.get((sample.name, None))
            if kind is not None:
                counts[kind] = counts.get(kind, 0.0) + sample.value


async def _redis_commands(url: str) -> float:
    redis = connect_redis(url)
    try:
        stats: dict[str, Any] = await redis.info("commandstats")
    finally:
        await redis.aclose()
    return float(sum(one["calls"] for name, one in stats.items() if name not in _IDLE_COMMANDS))
