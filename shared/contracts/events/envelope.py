"""The CloudEvents 1.0 envelope of every event, and the models of all events by type."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import ConfigDict, Field, field_validator

from shared.contracts.events.base import Event, Severity, UnknownEvent
from shared.contracts.events.reports import AgentReported
from shared.contracts.events.said import CaptionChanged, TurnFinished
from shared.contracts.events.session_events import SESSION_EVENTS
from shared.contracts.events.webhooks import WebhookTested
from shared.contracts.identifiers import EventId, SessionId, new_id
from shared.contracts.text import ALREADY_CLEAN, CleanModel
from shared.contracts.traceparent import Traceparent

_ALL: Final[tuple[type[Event], ...]] = (
    *SESSION_EVENTS,
    AgentReported,
    TurnFinished,
    CaptionChanged,
    WebhookTested,
)
EVENT_TYPES: Final[Mapping[str, type[Event]]] = {model.type: model for model in _ALL}


class Envelope(CleanModel):
    """CloudEvents 1.0 in structured JSON.

    `sequence` numbers the events of one session from 1. `traceparent` is the event's place in the session's
    trace.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: str = "1.0"
    id: EventId = Field(default_factory=lambda: EventId(new_id()))
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    severity: Severity = Severity.INFO
    sequence: int | None = None
    traceparent: Traceparent = None
    data: dict[str, Any]

    @field_validator("specversion")
    @classmethod
    def _version_one(cls, value: str) -> str:
        if value != "1.0":
            raise ValueError("only CloudEvents 1.0 is understood")
        return value

    @property
    def session_id(self) -> SessionId:
        """Return the session that the subject names; raises `ValueError` if it names none."""
        kind, _, session_id = self.subject.partition("/")
        if kind != "session" or not session_id:
            raise ValueError(f"subject {self.subject!r} names no session")
        return SessionId(session_id)

    def event(self) -> Event:
        """Return the typed event; raises `UnknownEvent` or `pydantic.ValidationError` if it is not one."""
        model = EVENT_TYPES.get(self.type)
        if model is None:
            raise UnknownEvent(f"no event type {self.type!r}")
        return model.model_validate(self.data, context=ALREADY_CLEAN)


def wrap(
    event: Event,
    *,
    session_id: SessionId,
    source: str,
    time: datetime,
    sequence: int | None = None,
    event_id: str | None = None,
    traceparent: str | None = None,
) -> Envelope:
    """Put an event of a session into its envelope.

    Readers recognise an event that is sent again by `event_id`.
    """
    return Envelope(
        id=EventId(event_id or new_id()),
        source=source,
        type=event.type,
        subject=f"session/{session_id}",
        time=time,
        severity=event.severity,
        sequence=sequence,
        traceparent=traceparent,
        data=event.model_dump(mode="json"),
    )
