"""Circuit breakers in Redis, which all dispatchers and verifiers share.

A circuit opens when something fails again and again. While it is open, sessions do without what it guards.
After a pause it is half-open: one session tries. That session's result closes the circuit or begins another,
longer pause. Two keys hold it, and both expire, so nobody compares clocks: one says that there is a circuit
and why, the other exists during a pause. (shared/platform/breaker.py is for calls of one process.)

Every function raises `redis.exceptions.RedisError` or `OSError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from shared.contracts.keys import circuit_key, circuit_pause_key
from shared.contracts.workers import CircuitState

# For so long after the last failure a circuit is remembered; then it counts as closed.
REMEMBERED_S: Final = 3600
# What the second key holds: nobody tries, or one session does.
_PAUSE: Final = "pause"
_TRIAL: Final = "trial"


class Opened(BaseModel):
    """What Redis holds of a circuit. `times`: how many pauses in a row it has had."""

    reason: str
    times: int = 1


@dataclass(frozen=True)
class Circuit:
    """A circuit that is not closed."""

    state: CircuitState
    reason: str


@dataclass(frozen=True)
class Pauses:
    """How long a circuit stays open: `first_s`, twice as long each further time, at most `longest_s`."""

    first_s: float
    longest_s: float

    def ms(self, times: int) -> int:
        """Return the pause after so many failures in a row."""
        return int(1000 * min(self.first_s * 2 ** min(times - 1, 16), self.longest_s))


async def open_circuit(redis: Redis, of: str, reason: str, pauses: Pauses) -> bool:
    """Begin a pause; return whether the circuit was closed before.

    While a pause lasts, change nothing: these are failures of sessions from before it.
    """
    before, pause = await redis.mget([circuit_key(of), circuit_pause_key(of)])
    if pause == _PAUSE:
        return False
    known = _opened(before)
    times = 1 if known is None else known.times + 1
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set(circuit_key(of), Opened(reason=reason, times=times).model_dump_json(), ex=REMEMBERED_S)
        pipe.set(circuit_pause_key(of), _PAUSE, px=pauses.ms(times))
        await pipe.execute()
    return known is None


async def close_circuit(redis: Redis, of: str) -> bool:
    """Close the circuit; return whether it was not closed before."""
    removed = await redis.delete(circuit_key(of), circuit_pause_key(of))
    return bool(removed)


async def begin_trial(redis: Redis, of: str, *, lasts_s: float) -> bool:
    """Return whether this session is the one that tries; the others go without until `lasts_s` is over."""
    return bool(await redis.set(circuit_pause_key(of), _TRIAL, px=int(lasts_s * 1000), nx=True))


async def read_circuits(redis: Redis, of: Sequence[str]) -> list[Circuit | None]:
    """Return these circuits in their order; None for a closed one."""
    if not of:
        return []
    found = await redis.mget([*map(circuit_key, of), *map(circuit_pause_key, of)])
    return [_circuit(*both) for both in zip(found[: len(of)], found[len(of) :], strict=True)]


def _circuit(value: Any, pause: Any) -> Circuit | None:
    opened = _opened(value)
    if opened is None:
        return None
    return Circuit(CircuitState.HALF_OPEN if pause is None else CircuitState.OPEN, opened.reason)


def _opened(value: Any) -> Opened | None:
    try:
        return None if value is None else Opened.model_validate_json(str(value))
    except ValidationError:
        return None  # a later version's
