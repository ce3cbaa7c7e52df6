"""Everything that happens, as typed events in a CloudEvents 1.0 envelope.

An event's `type` ends in its version. A changed shape gets a new type. Every type that was ever emitted stays
here, so that old entries can still be parsed; golden files in tests/contracts check that.
"""

from shared.contracts.events.base import (
    Event,
    Severity,
    UnknownEvent,
)
from shared.contracts.events.envelope import (
    EVENT_TYPES,
    Envelope,
    wrap,
)
from shared.contracts.events.reports import (
    AgentError,
    AgentReported,
    Step,
)
from shared.contracts.events.said import (
    CaptionChanged,
    Said,
    TurnFinished,
)
from shared.contracts.events.session_events import (
    SESSION_EVENTS,
    AgentAssigned,
    AgentJoined,
    AgentLost,
    AgentMissing,
    AgentReady,
    AgentSpoke,
    DispatchAccepted,
    DispatchFailed,
    DispatchStarted,
    ExtraAgentRemoved,
    ForeignAgentSeen,
    SessionCancelled,
    SessionEnded,
    SessionExpired,
    SessionFailed,
    SessionRequested,
    SessionReserved,
    SessionWaiting,
    ShareTakenBack,
)
from shared.contracts.events.webhooks import (
    WebhookTested,
)

__all__ = [
    "EVENT_TYPES",
    "SESSION_EVENTS",
    "AgentAssigned",
    "AgentError",
    "AgentJoined",
    "AgentLost",
    "AgentMissing",
    "AgentReady",
    "AgentReported",
    "AgentSpoke",
    "CaptionChanged",
    "DispatchAccepted",
    "DispatchFailed",
    "DispatchStarted",
    "Envelope",
    "Event",
    "ExtraAgentRemoved",
    "ForeignAgentSeen",
    "Said",
    "SessionCancelled",
    "SessionEnded",
    "SessionExpired",
    "SessionFailed",
    "SessionRequested",
    "SessionReserved",
    "SessionWaiting",
    "Severity",
    "ShareTakenBack",
    "Step",
    "TurnFinished",
    "UnknownEvent",
    "WebhookTested",
    "wrap",
]
