"""The events as a page for people."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from shared.contracts.causes import ADVICE
from shared.contracts.events import (
    SESSION_EVENTS,
    AgentJoined,
    AgentReported,
    CaptionChanged,
    Event,
    TurnFinished,
    WebhookTested,
    wrap,
)
from shared.contracts.identifiers import SessionId
from shared.contracts.keys import ENVELOPE_FIELD, EVENTS_STREAM, REPORTS_STREAM, TURNS_STREAM
from tools.event_docs.schemas import REF, data_schemas, said_of

_INTRODUCTION: Final = f"""\
<!-- Made by `make docs` from shared/contracts/events: change that. -->
# Events

Everything that happens to a session is an event: a [CloudEvents 1.0](https://cloudevents.io) envelope in \
structured JSON, the same in every place. `asyncapi.yaml` describes the events for machines.

| where | what | how |
|---|---|---|
| webhooks | session events | signed requests to your endpoints, at least once: [webhooks.md](webhooks.md) |
| `GET /v1/sessions/{{id}}/events` | session events of one session | JSON |
| the same with `Accept: text/event-stream` | session events, stored turns, and captions of what is being \
said | live: [transcripts.md](transcripts.md#live) |
| Redis stream `{EVENTS_STREAM}` | session events | one field, `{ENVELOPE_FIELD}`; at least once |
| Redis stream `{REPORTS_STREAM}` | `agent.reported.v1` | from agent workers; hints |
| Redis stream `{TURNS_STREAM}` | `transcript.turn_finished.v1` | from agent workers, until it is stored |

- A type ends in its version. A new shape gets a new type; a later minor version may add keys, so ignore \
those that you don't know.
- `id` is unique, and the same whenever the event is sent again. `sequence` numbers the events of a session \
from 1: use it for the order, and to drop events that you have seen. A late report of an agent becomes an \
event after its session's end.
- `severity` is `info`, `warning` or `critical`. Only the failure of a session is critical.
- `subject` is `session/` and the session's id.
- `traceparent` is the event's place in its session's trace, where that is traced ([tracing.md](tracing.md)).
- Session events contain nothing that was said: only turns and captions do, and none of them goes to a \
webhook.
"""


def reference() -> str:
    """Return the page in Markdown."""
    schemas = data_schemas()
    parts = [
        _INTRODUCTION,
        f"```json\n{_example()}\n```\n",
        "## Session events\n",
        *(_section(model, schemas) for model in SESSION_EVENTS),
        "## Webhooks only\n",
        _section(WebhookTested, schemas),
        "## Live only\n",
        _section(CaptionChanged, schemas),
        "## Between agent workers and Rollcall\n",
        *(_section(model, schemas) for model in (AgentReported, TurnFinished)),
        "## Causes\n",
        "| cause | what to do |\n|---|---|",
        *(f"| `{cause}` | {advice} |" for cause, advice in ADVICE.items()),
    ]
    return "\n".join(parts) + "\n"


def _example() -> str:
    event = AgentJoined(
        attempt=1,
        participant_identity="agent-AJ_7dQc6qJWQG3H",
        participant_sid="PA_MoucrzhyLtQ5",
        worker_id="AW_rKpYzvLhCRGy",
        join_seconds=0.29,
    )
    envelope = wrap(
        event,
        session_id=SessionId("01a20607-45be-712a-9742-1692c79d7639"),
        source="rollcall",
        time=datetime(2026, 11, 23, 12, tzinfo=UTC),
        sequence=5,
        event_id="01a20607-46e0-7d11-8a53-2f9a1c5d7e10",
    )
    return envelope.model_dump_json(indent=2, exclude_none=True)


def _section(model: type[Event], schemas: dict[str, Any]) -> str:
    schema = schemas[model.__name__]
    lines = [f"### `{model.type}`", "", f"{said_of(model)} Severity: {model.severity}.", ""]
    lines += _table(schema["properties"], schemas)
    return "\n".join(lines) + "\n"


def _table(properties: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield "| field | type |"
    yield "|---|---|"
    for name, field in properties.items():
        yield f"| `{name}` | {_kind(field, schemas)} |"


def _kind(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "$ref" in field:
        return _named(field["$ref"].removeprefix(REF), schemas)
    if "anyOf" in field:
        return _alternatives(_kind(part, schemas) for part in field["anyOf"])
    if field.get("type") == "array":
        return f"array of {_kind(field.get('items', {}), schemas)}"
    return str(field.get("format", field.get("type", "anything")))


def _named(name: str, schemas: dict[str, Any]) -> str:
    if name == "Cause":
        return "[cause](#causes)"
    schema = schemas[name]
    if "enum" in schema:
        return _alternatives(f"`{value}`" for value in schema["enum"])
    fields = ", ".join(f"`{key}`" for key in schema["properties"])
    return f"object: {fields}"


def _alternatives(kinds: Iterable[str]) -> str:
    return " or ".join(kinds)
