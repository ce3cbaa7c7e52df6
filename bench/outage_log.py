"""The record of an outage, and the figures that follow from it."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.options import BenchFailed, Figure, at_most, fact, seconds
from bench.usage import Usage
from shared.contracts.sessions import TERMINAL, SessionStatus

CALLS_PER_S = 200
SAMPLE_S = 1.0
FLAT_MB = 20.0
WATCHED = ("dispatcher", "verifier")
_RESOLVED = TERMINAL | {SessionStatus.ACTIVE}


@dataclass(frozen=True)
class Sample:
    """One sample: calls so far by process, memory by process, sessions by status."""

    at: float
    calls: dict[str, float]
    usage: dict[str, Usage]
    statuses: Counter[str]

    @property
    def resolved(self) -> int:
        """The number of sessions that have an agent, had one, or failed with a cause."""
        return sum(self.statuses[status] for status in _RESOLVED)

    @property
    def over(self) -> int:
        """The number of sessions that are over."""
        return sum(self.statuses[status] for status in TERMINAL)


@dataclass
class Log:
    """The samples of a run, and its important moments."""

    samples: list[Sample] = field(default_factory=list)
    stopped: float = 0.0
    all_asked: float = 0.0
    back: float = 0.0

    def between(self, begin: float, end: float = float("inf")) -> list[Sample]:
        """Return the samples of a period."""
        return [sample for sample in self.samples if begin <= sample.at <= end]


def call_rates(samples: list[Sample]) -> dict[str, list[float]]:
    """Return calls a second by process, between each two samples."""
    rates: dict[str, list[float]] = {}
    for first, second in itertools.pairwise(samples):
        for name, calls in second.calls.items():
            rates.setdefault(name, []).append((calls - first.calls[name]) / (second.at - first.at))
    return rates


def judge(log: Log, sessions: int, *, doubles: int, causes: Counter[str]) -> list[Figure]:
    """Return the figures of a run; raises `BenchFailed` if there are too few samples."""
    away, after = log.between(log.stopped, log.back), log.between(log.back)
    if len(away) < 2 or len(after) < 2:
        raise BenchFailed("too few samples: is the machine overloaded?")
    last = after[-1]
    total = 1 + sessions
    done_at = next((sample.at for sample in after if sample.resolved >= total), last.at)
    peak = max(
        ((b.resolved - a.resolved) / (b.at - a.at) for a, b in itertools.pairwise(after)),
        default=0,
    )
    rate = (last.resolved - away[-1].resolved) / max(done_at - log.back, SAMPLE_S)
    joined = sessions - sum(causes.values()) - (total - last.resolved)
    return [
        *_call_figures("LiveKit away", away),
        *_call_figures("LiveKit back", after),
        *_memory_figures(log, away, after),
        fact("resolved a second, in the mean and at most", f"{rate:.0f}, {peak:.0f}"),
        fact("LiveKit back until all are resolved", seconds(done_at - log.back)),
        fact("sessions that got their agent", f"{joined} of {sessions}"),
        fact("sessions that failed, by cause", _in_words(causes.items())),
        at_most("sessions stuck", total - last.over, 0, shown="{:.0f}"),
        at_most("rooms with two agents at once", doubles, 0, shown="{:.0f}"),
    ]


def _call_figures(when: str, samples: list[Sample]) -> list[Figure]:
    return [
        at_most(f"{when}: calls/s of the {name}, at most", max(rates), CALLS_PER_S, shown="{:.0f}")
        for name, rates in call_rates(samples).items()
        if name in WATCHED
    ]


def _memory_figures(log: Log, away: list[Sample], after: list[Sample]) -> list[Figure]:
    figures = []
    warm = (log.between(0, log.stopped) or away)[-1]
    for name in WATCHED:
        before, end = warm.usage[name].rss_mb, away[-1].usage[name].rss_mb
        path = [before, *(s.usage[name].rss_mb for s in (away[len(away) // 2], away[-1], after[-1]))]
        peak = max(sample.usage[name].rss_mb for sample in log.samples)
        shown = " → ".join(f"{mb:.0f}" for mb in path)
        figures.append(
            fact(f"{name}: MB before, amid, at the end of the outage, after; peak", f"{shown}; {peak:.0f}")
        )
        figures.append(
            at_most(f"{name}: MB more by the end of the outage", end - before, FLAT_MB, shown="{:.0f}")
        )
    return figures


def _in_words(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts) or "none"
