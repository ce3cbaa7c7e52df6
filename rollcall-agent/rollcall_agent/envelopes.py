"""The envelopes of what an agent tells: all of one source."""

from datetime import datetime

from shared.contracts.events import AgentReported, CaptionChanged, Envelope, TurnFinished, wrap
from shared.contracts.keys import AGENT_SOURCE


def wrap_told(
    event: AgentReported | TurnFinished | CaptionChanged, *, time: datetime, traceparent: str | None = None
) -> Envelope:
    """Put what a job tells of its session into an envelope. time: when it is told."""
    return wrap(event, session_id=event.session_id, source=AGENT_SOURCE, time=time, traceparent=traceparent)
