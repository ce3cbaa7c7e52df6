"""What a dispatch carries to the agent worker."""

import json
from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from shared.contracts.identifiers import SessionId
from shared.contracts.keys import ATTEMPT_ATTRIBUTE, METADATA_KEY, SESSION_ATTRIBUTE
from shared.contracts.models import Models
from shared.contracts.sessions import Mode, Role
from shared.contracts.text import CleanModel
from shared.contracts.traceparent import Traceparent


class PastTurn(CleanModel):
    """One turn of the conversation that an agent takes over; the fields are as in `TurnFinished`."""

    model_config = ConfigDict(frozen=True)

    item_id: str
    kind: str
    role: Role
    text: str
    cut_from_bytes: int | None = None
    interrupted: bool = False
    created_at: datetime
    extra: dict[str, Any] = {}


class DispatchOrder(CleanModel):
    """The reserved part of a dispatch's metadata: which attempt this is and how the agent is set up.

    `first_seq` is the sequence number of the first turn that this attempt's agent publishes.
    `takes_over` says that there has been talk before, with an agent that is gone. The agent of a canary
    gets ready and says nothing: nobody listens. `traceparent` is the job's parent in the session's trace.
    """

    model_config = ConfigDict(frozen=True)

    session_id: SessionId
    attempt: int
    mode: Mode = Mode.PIPELINE
    models: Models = Models()
    instructions: str | None = None
    first_seq: int = 1
    takes_over: bool = False
    canary: bool = False
    traceparent: Traceparent = None

    def attributes(self) -> dict[str, str]:
        """Attributes of the dispatch, and of the agent's participant once it has accepted."""
        return {SESSION_ATTRIBUTE: self.session_id, ATTEMPT_ATTRIBUTE: str(self.attempt)}

    def to_metadata(self, metadata: dict[str, Any]) -> str:
        """Return the dispatch's metadata: the caller's own keys, and ours under the reserved one."""
        return json.dumps({**metadata, METADATA_KEY: self.model_dump(mode="json")})

    @classmethod
    def from_metadata(cls, metadata: str) -> "DispatchOrder | None":
        """Read the order out of a job's metadata; None if the job was not dispatched by Rollcall.

        Raises `pydantic.ValidationError` if the reserved key is there but malformed.
        """
        try:
            loaded = json.loads(metadata)
        except ValueError:
            return None
        if not isinstance(loaded, dict) or METADATA_KEY not in loaded:
            return None
        return cls.model_validate(loaded[METADATA_KEY])
