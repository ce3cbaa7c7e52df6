"""`rollcall canary`: find out whether a session would get its agent, by starting one."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.text import Text

from cli.client.answers import Session
from cli.client.client import Client
from cli.render.show import evidence_lines, without_agent
from cli.render.timeline import Timeline
from shared.contracts.sessions import Level, SessionStatus
from shared.platform.plain_text import one_line

# A proven canary is `active` for a moment and then ended.
_PROVEN: Final = frozenset({SessionStatus.ACTIVE, SessionStatus.ENDED})


# The strongest first. Our agent says nothing in a canary, since nobody listens; other agents may.
_WORDS: Final = {Level.FIRST_SPEECH: "spoke", Level.READY: "ready", Level.ACTIVE: "joined"}
_NOT_SPOKEN_TO: Final = (
    "It joined and listens; it was not spoken to, so its models may still fail:"
    ' rollcall call "Hello" speaks to it.'
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a canary. `levels_ms` are the times since the request at which each level was reached.

    `proven` is how much was proven of the agent: `joined`, `ready` (it listens) or `spoke`; None: nothing.
    """

    ok: bool
    session_id: str
    status: str
    levels_ms: dict[str, int]
    proven: str | None = None
    cause: str | None = None
    advice: str | None = None
    evidence: dict[str, Any] | None = None

    @classmethod
    def of(cls, session: Session, *, timeout_s: float) -> "Verdict":
        """Return the verdict on a session as the API shows it."""
        failure = session.failure
        ok = session.status in _PROVEN
        advice = failure.advice if failure else None
        if not ok and advice is None:
            advice = f"No verdict within {timeout_s:g} s; read its events."
        return cls(
            ok=ok,
            session_id=session.session_id,
            status=session.status.value,
            levels_ms=session.levels_ms,
            proven=next((word for level, word in _WORDS.items() if level in session.levels_ms), None),
            cause=failure.cause if failure else None if ok else session.waiting_for,
            advice=advice,
            evidence=failure.evidence if failure else None,
        )

    def as_json(self) -> str:
        """Return the verdict as JSON for programs."""
        return json.dumps(asdict(self))

    def as_text(self) -> Text:
        """Return the verdict as text for people."""
        levels = ", ".join(f"{level} {ms} ms" for level, ms in self.levels_ms.items()) or "none"
        if self.ok:
            said = "It spoke." if self.proven == "spoke" else _NOT_SPOKEN_TO
            return Text(f"An agent would come. {said} Levels of proof: {levels}.", style="green")
        failed = self.status == SessionStatus.FAILED
        outcome = without_agent(joined=self.proven is not None) if failed else "no agent is proven"
        lines = [
            one_line(f"{outcome.capitalize()}: {self.cause or self.status}. {self.advice}"),
            *(f"  {line}" for line in evidence_lines(self.evidence or {})),
            f"  levels of proof reached: {levels}",
        ]
        return Text("\n".join(lines), style="red")


async def run_canary(
    client: Client, *, agent_name: str | None, timeout_s: float, show: Callable[[Text], None]
) -> Verdict:
    """Start a canary, show what happens, and judge it at its end or after `timeout_s`; raises `ApiError`."""
    started = await client.start_session(canary=True, agent_name=agent_name)
    timeline = Timeline(client, started.session_id, show=show)
    async with timeline.following():
        await timeline.wait_until_ended(timeout_s)
    session = await client.session(started.session_id)
    if not timeline.over.is_set():
        await client.end_session(started.session_id)
    return Verdict.of(session, timeout_s=timeout_s)
