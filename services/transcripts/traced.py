"""The spans of stored turns: each is a child of the agent's span, and the INSERT is its child."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.transcripts.admit import Parsed
from shared.contracts.keys import TURNS_STREAM
from shared.contracts.traceparent import is_sampled
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Kind, is_tracing, record


@dataclass(frozen=True)
class Stored:
    """The times when a batch was read, written and settled, in nanoseconds since 1970."""

    taken_ns: int
    writing_ns: int
    written_ns: int
    settled_ns: int


def trace_stored(turns: Sequence[Parsed], times: Stored) -> None:
    """Record the spans of a stored batch. Only turns with a recorded trace cost time."""
    if not is_tracing():
        return
    for parsed in turns:
        if not is_sampled(parsed.traceparent):
            continue
        turn = parsed.turn
        of = record(
            names.STORE_TURN,
            of=parsed.traceparent,
            began=times.taken_ns,
            ended=times.settled_ns,
            kind=Kind.CONSUMER,
            attributes={
                names.SESSION_ID: turn.session_id,
                names.ATTEMPT: turn.attempt,
                names.TURN_SEQ: turn.seq,
                names.TURN_ROLE: turn.role,
                names.BATCH_TURNS: len(turns),
                names.MESSAGING_SYSTEM: "redis",
                names.MESSAGING_OPERATION: "process",
                names.MESSAGING_DESTINATION: TURNS_STREAM,
            },
        )
        record(
            names.INSERT_TURN,
            of=of,
            began=times.writing_ns,
            ended=times.written_ns,
            kind=Kind.CLIENT,
            attributes={
                names.DB_OPERATION: "INSERT",
                names.DB_COLLECTION: "transcript_item",
                names.BATCH_TURNS: len(turns),
            },
        )
