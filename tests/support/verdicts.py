"""The outcome of a session, as the fault tests record it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.scoreboard import Finding, Scoreboard
from tests.support.sessions import TERMINAL, Rollcall, until

# LiveKit's client SDKs give up after this long.
CALLERS_PATIENCE_S = 20.0
_ENDS = {f"session.{status}.v1" for status in TERMINAL}


@dataclass(frozen=True)
class Verdict:
    """An ended session, with its history."""

    session: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def end(self) -> dict[str, Any]:
        """The event that ended the session; earlier reports of its agent may follow it."""
        return next(event for event in reversed(self.events) if event["type"] in _ENDS)

    @property
    def cause(self) -> str | None:
        """The cause of its end, or why a cancelled session had no agent."""
        cause: str | None = self.end["data"].get("cause")
        return cause

    @property
    def evidence(self) -> dict[str, Any]:
        """The evidence for it."""
        evidence: dict[str, Any] = self.end["data"].get("evidence", {})
        return evidence

    def seconds_to(self, event_type: str, *, since: str = "session.requested.v1") -> float | None:
        """Return the seconds from the first event of one type to the first of another.

        None if there is none.
        """
        began, came = self._time_of(since), self._time_of(event_type)
        return None if began is None or came is None else (came - began).total_seconds()

    def count(self, event_type: str) -> int:
        """How many events of this type there are."""
        return sum(event["type"] == event_type for event in self.events)

    def all(self, event_type: str) -> list[dict[str, Any]]:
        """The data of the events of this type."""
        return [event["data"] for event in self.events if event["type"] == event_type]

    def last_time(self, event_type: str) -> datetime:
        """When the last event of this type was; raises `IndexError` if there is none."""
        return [datetime.fromisoformat(e["time"]) for e in self.events if e["type"] == event_type][-1]

    def _time_of(self, event_type: str) -> datetime | None:
        times = (event["time"] for event in self.events if event["type"] == event_type)
        return next((datetime.fromisoformat(time) for time in times), None)


async def until_over(rollcall: Rollcall, session_id: str, *, timeout_s: float = 60.0) -> Verdict:
    """Wait until a session has ended, in any way."""

    async def over() -> dict[str, Any] | None:
        session = await rollcall.session(session_id)
        return session if session["status"] in TERMINAL else None

    session = await until(over, what=f"session {session_id} is over", timeout_s=timeout_s)
    return Verdict(session, await rollcall.events(session_id))


def judge(board: Scoreboard, verdict: Verdict, scenario: str, *expected: str, note: str = "") -> None:
    """Record a failed session. Its cause must be true, and its critical event in time."""
    seconds = verdict.seconds_to("session.failed.v1")
    board.add(Finding(scenario, expected, verdict.cause, critical_s=seconds, note=note))
    assert (verdict.end["type"], verdict.end["severity"]) == ("session.failed.v1", "critical"), verdict.end
    assert verdict.session["failure"]["advice"]
    if "agent.joined.v1" not in {event["type"] for event in verdict.events}:
        assert seconds is not None
        assert seconds < CALLERS_PATIENCE_S
