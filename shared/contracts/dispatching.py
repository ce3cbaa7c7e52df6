"""What a dispatch carries to the agent worker."""

import base64
import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import ConfigDict

from shared.contracts.identifiers import SessionId
from shared.contracts.keys import ATTEMPT_ATTRIBUTE, METADATA_KEY, ORDER_ATTRIBUTE, SESSION_ATTRIBUTE
from shared.contracts.models import Models
from shared.contracts.profiles import Profile
from shared.contracts.sessions import Mode, Role
from shared.contracts.text import CleanModel
from shared.contracts.traceparent import Traceparent

# LiveKit's limit for a dispatch's attributes, names and values together (`limit.max_attributes_size`).
MAX_ATTRIBUTES_BYTES: Final = 64 * 1024
# What a stored profile may take of that. The longest instructions take 53 KiB, if they are random characters.
MAX_PACKED_PROFILE_BYTES: Final = 8 * 1024
# No order is longer. Without a limit, a text could be a thousand times as long once decompressed.
_MAX_ORDER_BYTES: Final = 1024 * 1024


class PastTurn(CleanModel):
    """One turn of the conversation that an agent takes over.

    The fields mean the same as in `TurnFinished`.
    """

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
    """The attempt that a dispatch belongs to, and how to set up its agent; sent in the dispatch's attributes.

    `first_seq` is the sequence number of the first turn that this attempt's agent publishes. `takes_over`
    says that the caller has already talked with an agent that is now gone. The agent of a canary gets ready
    and says nothing, because nobody listens. `traceparent` is the job's parent in the session's trace.
    `caller_identity` is the identity in the session's token. `caller_only` says that no other participant who
    could have a token counts as the caller, because the client named the identity or the room is ours.
    `address` is that of the worker which the dispatcher chose; null: LiveKit chooses.
    `profile` is the stored profile of the agent name, in the version `profile_version`; null: none is stored.
    `credential` proves to Rollcall's API that its bearer is this attempt's agent.
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
    caller_identity: str | None = None
    caller_only: bool = False
    address: str | None = None
    profile: Profile | None = None
    profile_version: int | None = None
    credential: str | None = None

    def attributes(self) -> dict[str, str]:
        """Return the attributes that bind the dispatch to this attempt, and later the agent's participant."""
        return {SESSION_ATTRIBUTE: self.session_id, ATTEMPT_ATTRIBUTE: str(self.attempt)}

    def dispatch_attributes(self) -> dict[str, str]:
        """Return the attributes of the dispatch: those that bind it, and the order.

        The order is compressed for two reasons. The longest instructions fit (`MAX_ATTRIBUTES_BYTES`), and
        they are not readable in LiveKit's log, which shows the attributes of every dispatch.
        """
        return {**self.attributes(), ORDER_ATTRIBUTE: _packed(self.model_dump_json())}

    def is_of(self, attributes: Mapping[str, str]) -> bool:
        """Return whether these are attributes of this attempt's dispatch or of its agent."""
        return self.attributes().items() <= dict(attributes).items()

    @classmethod
    def of_job(cls, *, attributes: Mapping[str, str], metadata: str) -> "DispatchOrder | None":
        """Read the order of a job; None if the job was not dispatched by Rollcall.

        The metadata belongs to the client. This reads it only because dispatchers of older versions put the
        order there. Raises `ValueError` for an order that can't be read.
        """
        if ORDER_ATTRIBUTE in attributes:
            return cls.model_validate_json(_unpacked(attributes[ORDER_ATTRIBUTE]))
        if SESSION_ATTRIBUTE not in attributes or ATTEMPT_ATTRIBUTE not in attributes:
            return None
        bound = {"session_id": attributes[SESSION_ATTRIBUTE], "attempt": attributes[ATTEMPT_ATTRIBUTE]}
        return cls.model_validate(_older_order(metadata) or bound)


def client_metadata(metadata: dict[str, Any] | str) -> str:
    """Return a dispatch's metadata: a client's text unchanged, an object as JSON, "" for an empty one."""
    if isinstance(metadata, str):
        return metadata
    return json.dumps(metadata, ensure_ascii=False) if metadata else ""


def packed_size(profile: Profile) -> int:
    """Return how many bytes of an order's attribute a profile takes, without its instructions.

    A session's own instructions come in the place of the profile's, and both have the same limit.
    """
    return len(
        _packed(profile.model_copy(update={"instructions": None}).model_dump_json(exclude_defaults=True))
    )


def _packed(order: str) -> str:
    return base64.b85encode(zlib.compress(order.encode(), 9)).decode()


def _unpacked(packed: str) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        order = unpacking.decompress(base64.b85decode(packed), _MAX_ORDER_BYTES)
    except zlib.error as malformed:
        raise ValueError(f"{ORDER_ATTRIBUTE}: {malformed}") from malformed
    return order


def _older_order(metadata: str) -> Any:
    try:
        loaded = json.loads(metadata)
    except ValueError:
        return None
    return loaded.get(METADATA_KEY) if isinstance(loaded, dict) else None
