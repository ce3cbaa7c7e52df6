"""What the dispatcher and the API must judge alike about an attempt."""

from sqlalchemy import ColumnElement, or_
from sqlmodel import col

from shared.core.sessions.tables import AttemptRow


def agent_came() -> ColumnElement[bool]:
    """Of an attempt: its agent's job ran, or its agent was seen. One that never came said nothing."""
    return or_(
        col(AttemptRow.entrypoint_at).is_not(None),
        col(AttemptRow.connected_at).is_not(None),
        col(AttemptRow.active_at).is_not(None),
        col(AttemptRow.closed_at).is_not(None),
        col(AttemptRow.expected_turns).is_not(None),
    )
