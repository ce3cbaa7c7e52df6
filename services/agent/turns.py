"""Make turns out of what the SDK adds to the conversation, and publish each at once."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from livekit.agents.llm import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)

from services.agent.ports import Outbox
from services.agent.report import SOURCE, JobFacts
from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import TurnFinished, wrap
from shared.contracts.keys import TURNS_STREAM
from shared.contracts.sessions import Role
from shared.runtime import span_names as names
from shared.runtime.clock import Clock, utc_now
from shared.runtime.tracing import Kind, record

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}
_NO_LATENCIES = ("started_speaking_at", "stopped_speaking_at", "llm_node_tps")


def message_fields(item: ChatMessage) -> dict[str, Any] | None:
    """The turn in a message; None for what nobody said, and for instructions."""
    text = (item.text_content or "").strip()
    if item.role not in _ROLES or not text:
        return None
    return {
        "item_id": item.id,
        "role": _ROLES[item.role],
        "text": text,
        "interrupted": item.interrupted,
        "confidence": item.transcript_confidence,
        "created_at": _time(item.created_at),
        "started_at": _time(item.metrics.get("started_speaking_at")),
        "ended_at": _time(item.metrics.get("stopped_speaking_at")),
        "metrics": _latencies(item.metrics),
    }


def call_fields(item: FunctionCall) -> dict[str, Any]:
    """The turn in the call of a tool."""
    return {
        "item_id": item.id,
        "kind": "function_call",
        "role": Role.TOOL,
        "text": f"{item.name}({item.arguments})",
        "created_at": _time(item.created_at),
        "extra": {"call_id": item.call_id, "name": item.name, "arguments": item.arguments},
    }


def output_fields(item: FunctionCallOutput) -> dict[str, Any]:
    """The turn in a tool's answer."""
    return {
        "item_id": item.id,
        "kind": "function_call_output",
        "role": Role.TOOL,
        "text": item.output,
        "created_at": _time(item.created_at),
        "extra": {
            "call_id": item.call_id,
            "name": item.name,
            "output": item.output,
            "is_error": item.is_error,
        },
    }


def handoff_fields(item: AgentHandoff) -> dict[str, Any] | None:
    """The turn in which one agent hands over to another; None for the first agent's start."""
    if item.old_agent_id is None:
        return None
    return {
        "item_id": item.id,
        "kind": "agent_handoff",
        "role": Role.ASSISTANT,
        "text": f"{item.old_agent_id} -> {item.new_agent_id}",
        "created_at": _time(item.created_at),
        "extra": {"old_agent_id": item.old_agent_id, "new_agent_id": item.new_agent_id},
    }


def instructions_fields(item: AgentConfigUpdate) -> dict[str, Any] | None:
    """The turn in what the agent is told to be; None for a change of its tools alone."""
    if not item.instructions:
        return None
    return {
        "item_id": item.id,
        "kind": "instructions",
        "role": Role.SYSTEM,
        "text": item.instructions,
        "created_at": _time(item.created_at),
    }


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _latencies(metrics: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if name not in _NO_LATENCIES and isinstance(value, int | float) and not isinstance(value, bool)
    }


class TurnLog:
    """Numbers the turns of one job and publishes them. Without an order, there is nowhere to."""

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
        """How many turns this job has published."""
        return len(self._seen)

    def take_over(self, item_ids: Iterable[str]) -> None:
        """These items are of the agent before, and stored; they are not published again."""
        self._stored = frozenset(item_ids)

    def message(self, item: ChatMessage, *, caller: str | None, language: str | None) -> None:
        """Publish what was said; caller and language are of the user's turns."""
        fields = message_fields(item)
        if fields is not None and fields["role"] is Role.USER:
            fields |= {"participant_identity": caller, "language": language}
        self._publish(fields)

    def tool(self, call: FunctionCall, output: FunctionCallOutput | None) -> None:
        """Publish a tool's call, then its answer."""
        self._publish(call_fields(call))
        if output is not None:
            self._publish(output_fields(output))

    def handoff(self, item: AgentHandoff) -> None:
        """Publish that another agent took over."""
        self._publish(handoff_fields(item))

    def instructions(self, item: AgentConfigUpdate) -> None:
        """Publish what the agent is told to be, from here on."""
        self._publish(instructions_fields(item))

    def _publish(self, fields: dict[str, Any] | None) -> None:
        if self._order is None or fields is None:
            return
        if fields["item_id"] in self._seen or fields["item_id"] in self._stored:
            return
        turn = TurnFinished(
            session_id=self._order.session_id,
            attempt=self._order.attempt,
            seq=self._order.first_seq + len(self._seen),
            job_id=self._facts.job_id,
            worker_id=self._facts.worker_id,
            **fields,
        )
        # Counted even if there is no room for it: the hole in the sequence then shows.
        self._seen.add(turn.item_id)
        now = self._clock()
        envelope = wrap(
            turn,
            session_id=turn.session_id,
            source=SOURCE,
            time=now,
            traceparent=_recorded(turn, self._order.traceparent, now),
        )
        self._outbox.offer(TURNS_STREAM, envelope)


def _recorded(turn: TurnFinished, of: str | None, now: datetime) -> str | None:
    """Record the turn's span, from its beginning until it is published; returns its context."""
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
