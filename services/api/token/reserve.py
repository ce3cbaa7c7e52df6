"""Reserve a session: the client gets a token now, and an agent when the token's holder joins.

LiveKit's client SDKs ask for a token on every page load and again after every call, so a token dispatches
nothing. Fields that clients may not set are refused. Fields without a meaning here are ignored, and named in
the answer.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from services.api.auth.access import Principal
from services.api.errors.problems import invalid_field
from services.api.sessions.schemas import StartSession
from services.api.sessions.start import (
    MAX_METADATA_BYTES,
    check_agent_name,
    check_deployment,
    check_metadata,
    new_row,
    write_session,
)
from services.api.settings import ApiSettings
from services.api.token.schemas import AgentWish, TokenRequest
from shared.contracts.events import SessionReserved
from shared.contracts.sessions import Mode, SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import note

log = get_logger(__name__)

# LiveKit accepts a token for a minute after its end, and a join takes a moment.
USABLE_AFTER_ITS_END: Final = timedelta(seconds=70)
# The token is sent in a header, and some proxies accept at most 8 KiB of headers.
MAX_PARTICIPANT_BYTES: Final = 4096
# Prefixes of LiveKit's own attributes, and ours.
RESERVED_ATTRIBUTES: Final = ("lk.", "rollcall.")
# The form of agents' identities: a caller who joined under one would disconnect the agent.
RESERVED_IDENTITY: Final = "agent-"
_AGENT: Final = "room_config.agents.0"


async def reserve_session(
    wanted: TokenRequest,
    *,
    asking: Principal,
    settings: ApiSettings,
    database: Database,
    relay: Relay,
    now: Clock,
    admit: Callable[[SessionRow], Awaitable[None]],
) -> SessionRow:
    """Write a reservation and return it; raises `Problem`.

    `admit` is called before the row is written, and raises if there are too many.
    """
    _check_room(wanted)
    _check_participant(wanted)
    agent = _agent(wanted, settings)
    row = new_row(
        StartSession(
            agent_name=agent.agent_name,
            deployment=agent.deployment,
            participant_identity=wanted.participant_identity,
            participant_name=wanted.participant_name,
            metadata=_agent_metadata(agent.metadata, _most_metadata(asking, settings)),
        ),
        asking,
        settings,
        now,
    )
    row.status = SessionStatus.RESERVED
    row.deadline_at = expires_at(row, settings) + USABLE_AFTER_ITS_END
    row.next_check_at = None
    event = SessionReserved(
        room_name=row.room_name,
        agent_name=row.agent_name,
        mode=Mode(row.mode),
        expires_at=expires_at(row, settings),
    )
    await admit(row)
    await write_session(row, event, asking=asking, settings=settings, database=database)
    note({names.SESSION_ID: row.id, names.ROOM: row.room_name})
    relay.publish_soon(row.id)
    with bound_to(row):
        log.info("session_reserved", agent_name=row.agent_name)
    return row


def expires_at(row: SessionRow, settings: ApiSettings) -> datetime:
    """Return when the token of a reservation expires."""
    return row.requested_at + timedelta(seconds=settings.participant_token_ttl_s)


def _check_room(wanted: TokenRequest) -> None:
    config = wanted.room_config
    for field, asked in (("room_name", wanted.room_name), ("room_config.name", config.name)):
        if asked:
            raise invalid_field(field, "may not be set: each token is for a new room of its own")
    if config.egress:
        raise invalid_field("room_config.egress", "may not be set: a caller starts no recordings")
    if len(config.agents) > 1:
        raise invalid_field("room_config.agents", "a session has one agent")


def _check_participant(wanted: TokenRequest) -> None:
    if (wanted.participant_identity or "").startswith(RESERVED_IDENTITY):
        raise invalid_field("participant_identity", f"must not begin with {RESERVED_IDENTITY!r}")
    for name in wanted.participant_attributes:
        if name.startswith(RESERVED_ATTRIBUTES):
            raise invalid_field("participant_attributes", f"{name!r} is reserved")
    attributes = json.dumps(wanted.participant_attributes, ensure_ascii=False)
    size = len((wanted.participant_metadata or "").encode()) + len(attributes.encode())
    if size > MAX_PARTICIPANT_BYTES:
        limit = f"at most {MAX_PARTICIPANT_BYTES} bytes together with participant_attributes"
        raise invalid_field(
            "participant_metadata", f"must be {limit}, for the token carries it; it has {size}"
        )


def _agent(wanted: TokenRequest, settings: ApiSettings) -> AgentWish:
    agent = wanted.room_config.agents[0] if wanted.room_config.agents else AgentWish()
    check_agent_name(agent.agent_name, settings, field=f"{_AGENT}.agent_name")
    check_deployment(agent.deployment, settings, field=f"{_AGENT}.deployment")
    return agent


def _most_metadata(asking: Principal, settings: ApiSettings) -> int:
    """Return the size limit of metadata.

    Anyone who sees a page could fill the database with its key, so the limit is small.
    """
    return settings.max_metadata_bytes_visitor if asking.publishable else MAX_METADATA_BYTES


def _agent_metadata(metadata: str | None, most: int) -> dict[str, Any] | str:
    """Return the object if the text is one in JSON, otherwise the text; at most so many bytes."""
    if not metadata:
        return {}
    try:
        loaded = json.loads(metadata) if metadata.lstrip().startswith("{") else metadata
    except (ValueError, RecursionError):
        loaded = metadata
    found = loaded if isinstance(loaded, dict) else metadata
    check_metadata(found, field=f"{_AGENT}.metadata", most=most)
    return found
