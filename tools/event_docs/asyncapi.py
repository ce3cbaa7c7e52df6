"""The events as an AsyncAPI 3.0 document."""

from collections.abc import Iterable
from typing import Any, Final

import yaml

from shared.contracts.events import (
    EVENT_TYPES,
    SESSION_EVENTS,
    AgentReported,
    CaptionChanged,
    Event,
    TurnFinished,
    WebhookTested,
)
from shared.contracts.keys import ENVELOPE_FIELD, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from tools.event_docs.schemas import REF, data_schemas, envelope_schema, said_of

_CLOUDEVENT: Final = "application/cloudevents+json"
_HEADER: Final = "# Made by `make docs` from shared/contracts/events: change that.\n"
_STREAM: Final = f"A Redis stream; each entry has one field, `{ENVELOPE_FIELD}`."

_SENT_AS_WEBHOOKS: Final[tuple[type[Event], ...]] = (*SESSION_EVENTS, WebhookTested)
_WEBHOOK_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Standard Webhooks: see docs/webhooks.md.",
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
    "properties": {
        "webhook-id": {"type": "string", "description": "the event's id: the same at every attempt"},
        "webhook-timestamp": {"type": "string", "description": "time of this attempt, in seconds since 1970"},
        "webhook-signature": {
            "type": "string",
            "description": "one or more signatures, separated by spaces",
            "examples": ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="],
        },
    },
}


def asyncapi() -> str:
    """Return the document in YAML."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rollcall's events",
            "version": "1",
            "description": "What happens to a session, as CloudEvents 1.0 in structured JSON.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _CLOUDEVENT,
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {model.type: _message(model) for model in EVENT_TYPES.values()},
            "schemas": _schemas(),
        },
    }
    return _HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _channels() -> dict[str, Any]:
    return {
        "events": _stream(EVENTS_STREAM, SESSION_EVENTS, "What happens to sessions."),
        "reports": _stream(REPORTS_STREAM, [AgentReported], "What agent workers report about their jobs."),
        "turns": _stream(TURNS_STREAM, [TurnFinished], "What was said, on its way to the database."),
        "live": {
            "address": "/v1/sessions/{session_id}/events",
            "description": "Server-sent events of one session from the HTTP API; `Last-Event-ID` resumes.",
            "parameters": {"session_id": {"description": "the session"}},
            "messages": _references([*SESSION_EVENTS, TurnFinished, CaptionChanged]),
        },
        "liveOfProject": {
            "address": "/v1/events",
            "description": (
                "Server-sent events of a project's sessions from the HTTP API; `Last-Event-ID` resumes. "
                "Turns and captions are those of the sessions in `session_id`."
            ),
            "messages": _references([*SESSION_EVENTS, TurnFinished, CaptionChanged]),
        },
        "webhooks": {
            "address": None,
            "description": "Requests to the endpoints that a project has registered.",
            "messages": {
                model.type: {**_message(model), "headers": {"$ref": f"{REF}WebhookHeaders"}}
                for model in _SENT_AS_WEBHOOKS
            },
        },
    }


def _operations() -> dict[str, Any]:
    actions = {
        "publishEvents": ("send", "events", "The outbox relay publishes committed events."),
        "takeReports": ("receive", "reports", "The verifier reads reports; they are hints."),
        "takeTurns": ("receive", "turns", "The transcript consumer stores each turn once."),
        "followSession": ("send", "live", "The API sends a session's events as they happen."),
        "followProject": ("send", "liveOfProject", "The API sends the events of a project as they happen."),
        "sendWebhooks": ("send", "webhooks", "At least once, to each endpoint that wants the event."),
    }
    return {
        name: {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}
        for name, (action, channel, summary) in actions.items()
    }


def _stream(address: str, models: Iterable[type[Event]], what: str) -> dict[str, Any]:
    return {"address": address, "description": f"{what} {_STREAM}", "messages": _references(models)}


def _references(models: Iterable[type[Event]]) -> dict[str, Any]:
    return {model.type: {"$ref": f"#/components/messages/{model.type}"} for model in models}


def _message(model: type[Event]) -> dict[str, Any]:
    return {
        "name": model.type,
        "summary": said_of(model),
        "contentType": _CLOUDEVENT,
        "payload": {"$ref": REF + _envelope_name(model)},
    }


def _envelope_name(model: type[Event]) -> str:
    return f"{model.__name__}Envelope"


def _schemas() -> dict[str, Any]:
    envelopes = {
        _envelope_name(model): {
            "allOf": [
                {"$ref": f"{REF}Envelope"},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": model.type},
                        "severity": {"const": str(model.severity)},
                        "data": {"$ref": REF + model.__name__},
                    },
                },
            ]
        }
        for model in EVENT_TYPES.values()
    }
    return {
        "Envelope": envelope_schema(),
        "WebhookHeaders": _WEBHOOK_HEADERS,
        **envelopes,
        **data_schemas(),
    }
