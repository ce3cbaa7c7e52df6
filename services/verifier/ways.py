"""Which workers can be heard over the API, so that an outage of that way does not look like dead jobs.

A job whose beats come over the API falls silent if it dies, and also if the API restarts or the network
between them breaks. In the second case its worker, which has a connection of its own, falls silent too. So
the silence of such a job proves something only up to when its worker was last heard, and not from before the
job had time to connect again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# Workers beat once a second. After a longer pause, nothing is known of the time between two beats.
LONGEST_PAUSE_S = 3.0
# When the API is there again, a worker's jobs connect again as it does: not all at once.
RETURN_S = 5.0


@dataclass
class _Way:
    connection: str
    beat: str
    heard_at: float
    open_since: float


class Ways:
    """What this process has heard of the workers; times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}

    def note(self, beats: Mapping[str, str], now: float) -> None:
        """Take in the newest beat of each worker, as `shared.core.workers.beats` stores them."""
        for gone in self._ways.keys() - beats.keys():
            del self._ways[gone]
        for worker_id, beat in beats.items():
            connection = beat.rpartition(":")[0]
            way = self._ways.get(worker_id)
            if way is not None and way.beat == beat:
                continue
            lasts = way is not None and way.connection == connection and now - way.heard_at <= LONGEST_PAUSE_S
            since = way.open_since if way is not None and lasts else now + RETURN_S
            self._ways[worker_id] = _Way(connection, beat, now, since)

    def heard(self, worker_id: str) -> tuple[float, float] | None:
        """From when until when a missing beat of this worker's jobs means a missing job; None: never."""
        way = self._ways.get(worker_id)
        return None if way is None else (way.open_since, way.heard_at)

    def unheard_for(self, seconds: float, now: float) -> list[str]:
        """The workers that were not heard for so long."""
        return [worker_id for worker_id, way in self._ways.items() if now - way.heard_at > seconds]
