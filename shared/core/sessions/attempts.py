"""Rules about attempts that the dispatcher and the API share."""

from sqlalchemy import ColumnElement, or_
from sqlmodel import col

from shared.core.sessions.tables import AttemptRow


def agent_came() -> ColumnElement[bool]:
    """Return whether the attempt's agent came: its job ran, or it was seen. Otherwise there are no turns."""
    return or_(
        col(AttemptRow.entrypoint_at).is_not(None),
        col(AttemptRow.connected_at).is_not(None),
        col(AttemptRow.active_at).is_not(None),
        col(AttemptRow.closed_at).is_not(None),
        col(AttemptRow.expected_turns).is_not(None),
    )
