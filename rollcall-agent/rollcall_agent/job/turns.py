"""Make turns from the items that the SDK adds to the conversation, and publish each at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from livekit.agents.llm import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)

from rollcall_agent import metrics
from rollcall_agent.envelopes import wrap_told
from rollcall_agent.ports import Outbox
from rollcall_agent.report import JobFacts
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import TurnFinished
from shared.contracts.keys import TURNS_STREAM
from shared.contracts.sessions import Role
from shared.contracts.text import CUT_MARK, MAX_ID_BYTES, bounded_id, clean
from shared.contracts.tools import call_text
from shared.platform.clock import Clock, utc_now
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Kind, record

log = get_logger(__name__)

# A key in the `extra` of a typed message that was cut: its original length.
TYPED_BYTES: Final = "rollcall_typed_bytes"


@dataclass(frozen=True)
class Note:
    """What the agent's own code adds to the transcript. `data` is JSON; `created_at` is Unix seconds."""

    id: str
    name: str
    data: str
    created_at: float
    type: str = "note"


_Item = ChatMessage | FunctionCall | FunctionCallOutput | AgentHandoff | AgentConfigUpdate | Note
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
_NO_LATENCIES = ("started_speaking_at", "stopped_speaking_at", "llm_node_tps")


def message_fields(item: ChatMessage) -> dict[str, Any] | None:
    """Return the turn of a message; None for a message that nobody said, and for instructions."""
    text = clean(item.text_content or "").strip()
    typed_bytes = item.extra.get(TYPED_BYTES)
    if item.role not in _ROLES or not text:
        return None
    return {
        "item_id": item.id,
        "role": _ROLES[item.role],
        "text": text if typed_bytes is None else text.removesuffix(CUT_MARK),
        "cut_from_bytes": typed_bytes,
        "interrupted": item.interrupted,
        "confidence": item.transcript_confidence,
        "created_at": _time(item.created_at),
        "started_at": _time(item.metrics.get("started_speaking_at")),
        "ended_at": _time(item.metrics.get("stopped_speaking_at")),
        "metrics": _latencies(item.metrics),
    }


def call_fields(item: FunctionCall) -> dict[str, Any]:
    """Return the turn of a tool's call."""
    return {
        "item_id": item.id,
        "kind": "function_call",
        "role": Role.TOOL,
        "text": call_text(item.name, item.arguments),
        "created_at": _time(item.created_at),
        "extra": _ids(call_id=item.call_id, name=item.name),
    }


def output_fields(item: FunctionCallOutput) -> dict[str, Any]:
    """Return the turn of a tool's answer."""
    return {
        "item_id": item.id,
        "kind": "function_call_output",
        "role": Role.TOOL,
        "text": item.output,
        "created_at": _time(item.created_at),
        "extra": {**_ids(call_id=item.call_id, name=item.name), "is_error": item.is_error},
    }


def handoff_fields(item: AgentHandoff) -> dict[str, Any] | None:
    """Return the turn of a handoff between agents; None for the first agent's start."""
    if item.old_agent_id is None:
        return None
    return {
        "item_id": item.id,
        "kind": "agent_handoff",
        "role": Role.ASSISTANT,
        "text": f"{item.old_agent_id} -> {item.new_agent_id}",
        "created_at": _time(item.created_at),
        "extra": _ids(old_agent_id=item.old_agent_id, new_agent_id=item.new_agent_id),
    }


def instructions_fields(item: AgentConfigUpdate) -> dict[str, Any] | None:
    """Return the turn of an agent's instructions; None if only its tools changed."""
    if not item.instructions:
        return None
    return {
        "item_id": item.id,
        "kind": "instructions",
        "role": Role.SYSTEM,
        "text": item.instructions,
        "created_at": _time(item.created_at),
    }


def note_fields(item: Note) -> dict[str, Any]:
    """The turn in a note."""
    return {
        "item_id": item.id,
        "kind": "note",
        "role": Role.SYSTEM,
        "text": item.data,
        "created_at": _time(item.created_at),
        "extra": _ids(name=item.name),
    }


def _ids(**ids: str) -> dict[str, Any]:
    """Return `extra` with its ids and names bounded."""
    return {name: bounded_id(clean(value)) for name, value in ids.items()}


def _time(seconds: float | None) -> datetime | None:
    """Return the time; None if there is none, or if it is out of range."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _latencies(metrics: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if name not in _NO_LATENCIES and isinstance(value, int | float) and not isinstance(value, bool)
    }


class TurnLog:
    """Numbers the turns of one job and publishes them. Without an order, it publishes nothing."""

    def __init__(
        self, *, order: DispatchOrder | None, facts: JobFacts, outbox: Outbox, clock: Clock = utc_now
    ) -> None:
        self._order = order
        self._facts = facts
        self._outbox = outbox
        self._clock = clock
        self._seen: set[str] = set()
        self._stored: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        """The number of turns that this job has published."""
        return len(self._seen)

    def take_over(self, item_ids: Iterable[str]) -> None:
        """Note that these items come from an earlier agent and are stored; they are not published again."""
        self._stored = frozenset(item_ids)

    def message(self, item: ChatMessage, *, caller: str | None, language: str | None) -> None:
        """Publish a message; caller and language belong to the user's turns."""
        speaker = {"participant_identity": caller, "language": language} if item.role == "user" else {}
        self._tell(item, message_fields, **speaker)

    def tool(self, call: FunctionCall, output: FunctionCallOutput | None) -> None:
        """Publish a tool's call, then its answer."""
        self._tell(call, call_fields)
        if output is not None:
            self._tell(output, output_fields)

    def handoff(self, item: AgentHandoff) -> None:
        """Publish that another agent took over."""
        self._tell(item, handoff_fields)

    def instructions(self, item: AgentConfigUpdate) -> None:
        """Publish the agent's instructions from here on."""
        self._tell(item, instructions_fields)

    def note(self, item: Note) -> None:
        """Publish what the agent's own code adds."""
        self._tell(item, note_fields)

    def _tell(
        self, item: _Item, fields_of: Callable[[Any], dict[str, Any] | None], **more: str | None
    ) -> None:
        """Publish the turn of an item, if it has one. A turn that fails does not hold up later ones."""
        if self._order is None:
            return
        try:
            if (fields := fields_of(item)) is not None:
                self._publish(self._order, item, {**fields, **more})
        except Exception:
            metrics.event_dropped()
            log.exception("turn_not_published", item_id=str(item.id)[:MAX_ID_BYTES], kind=item.type)

    def _publish(self, order: DispatchOrder, item: _Item, fields: dict[str, Any]) -> None:
        item_id = bounded_id(clean(item.id))
        if item_id in self._seen or item_id in self._stored:
            return
        seq = order.first_seq + len(self._seen)
        # Counted even if it can't be published or the queue is full: the gap in the sequence then shows.
        self._seen.add(item_id)
        now = self._clock()
        turn = TurnFinished(
            session_id=order.session_id,
            attempt=order.attempt,
            seq=seq,
            job_id=self._facts.job_id,
            worker_id=self._facts.worker_id,
            **{**fields, "created_at": fields["created_at"] or now},
        )
        envelope = wrap_told(turn, time=now, traceparent=_recorded(turn, order.traceparent, now))
        self._outbox.offer(TURNS_STREAM, envelope)


def _recorded(turn: TurnFinished, of: str | None, now: datetime) -> str | None:
    """Record the turn's span, from its beginning until it is published; return its context."""
    return record(
        names.TURN,
        of=of,
        began=min(turn.started_at or turn.created_at, now),
        ended=now,
        kind=Kind.PRODUCER,
        attributes={
            names.SESSION_ID: turn.session_id,
            names.ATTEMPT: turn.attempt,
            names.TURN_SEQ: turn.seq,
            names.TURN_ROLE: turn.role,
            names.TURN_KIND: turn.kind,
            names.TURN_INTERRUPTED: turn.interrupted,
        },
        content={names.TURN_TEXT: turn.text},
    )
