"""The JSON of the line."""

from datetime import datetime

from pydantic import BaseModel, Field

from shared.contracts.causes import Cause


class WaitingSession(BaseModel):
    """A session that waits for an agent."""

    session_id: str
    participant_identity: str
    waiting_for: Cause
    place_in_line: int | None = Field(
        description="1 is the next; null while it waits for something else than a slot. Sessions of every "
        "project count"
    )
    requested_at: datetime
    deadline_at: datetime = Field(description="at which it fails")


class Line(BaseModel):
    """Who waits for the workers of one pool."""

    agent_name: str
    deployment: str = Field(description="the pool; empty: the one without a name")
    waiting: int
    oldest_at: datetime = Field(description="when the first of them was requested")
    causes: dict[Cause, int] = Field(description="what they wait for, with how many of them do")
    sessions: list[WaitingSession] = Field(description="the first of them, in order")


class Lines(BaseModel):
    """The lines in which sessions of the project wait, the longest wait first."""

    lines: list[Line]
