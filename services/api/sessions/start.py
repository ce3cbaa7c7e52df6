"""Start a session: one transaction writes it with its first event, and everything else follows from that."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.auth.access import Principal
from services.api.errors.problems import Problem, invalid_field
from services.api.limits.rates import check_sessions
from services.api.sessions.rooms import room_of
from services.api.sessions.schemas import StartSession
from services.api.settings import ApiSettings
from shared.contracts.dispatching import client_metadata
from shared.contracts.events import Event, SessionRequested
from shared.contracts.identifiers import SessionId, new_caller_identity, new_id, new_room_name
from shared.contracts.models import Models
from shared.contracts.nesting import is_deeper
from shared.contracts.sessions import Level, SessionStatus
from shared.core.admission.reservations import RELAY_GRACE
from shared.core.sessions.limits import may_surely_start
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import add_session, insert_session
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import is_unique_violation
from shared.platform.logs.logs import get_logger
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import begun_here, note

log = get_logger(__name__)

# An agent's process gets all of it. LiveKit accepts 512 KiB with a dispatch (`max_metadata_size` of 1.13.5).
MAX_METADATA_BYTES = 32 * 1024
MAX_METADATA_DEPTH = 32
# A NUL as JSON writes it, but not an escaped backslash before "u0000".
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


First = Callable[[AsyncSession, SessionRow], Awaitable[None]]


async def start_session(
    wanted: StartSession,
    *,
    asking: Principal,
    settings: ApiSettings,
    database: Database,
    relay: Relay,
    now: Clock,
    first: First | None = None,
) -> SessionRow:
    """Write the requested session and return it; raises `Problem`, and the exceptions of `first`.

    `first` is called in the session's transaction before anything is written; an exception stops the start.
    """
    check_allowed(wanted, settings)
    row = new_row(wanted, asking, settings, now)
    event = SessionRequested(room_name=row.room_name, agent_name=row.agent_name, mode=wanted.mode)
    try:
        await write_session(row, event, asking=asking, settings=settings, database=database, first=first)
    except IntegrityError as error:
        if not is_unique_violation(error):
            raise
        detail = f"room {row.room_name} belongs to a session that has not ended; end it, or name another"
        raise Problem(409, "room_in_use", detail) from None
    note({names.SESSION_ID: row.id, names.ROOM: row.room_name})
    relay.publish_soon(row.id)
    with bound_to(row):
        log.info(
            "dispatch_requested",
            message=f"starting agent dispatch process for room {row.room_name}",
            agent_name=row.agent_name,
        )
    return row


async def write_session(
    row: SessionRow,
    event: Event,
    *,
    asking: Principal,
    settings: ApiSettings,
    database: Database,
    first: First | None = None,
) -> None:
    """Write a session with its first event; raises `Problem` if a limit of sessions is reached.

    For `first`, see `start_session`.
    """
    if first is None and not database.is_sqlite:
        async with database.autocommit() as db:
            if await may_surely_start(db, project=asking.project, key_id=asking.key_id, limits=settings):
                await insert_session(db, row, event=event)
                return
    async with database.write() as db:
        if first is not None:
            await first(db, row)
        await check_sessions(db, asking, settings)
        await add_session(db, row, event=event)


def new_row(wanted: StartSession, asking: Principal, settings: ApiSettings, now: Clock) -> SessionRow:
    """Return the row of a session that is requested now."""
    session_id = SessionId(new_id())
    requested_at = now()
    return SessionRow(
        id=session_id,
        project=asking.project,
        api_key_id=asking.key_id,
        status=SessionStatus.REQUESTED,
        room_name=room_of(asking.project, wanted.room_name or new_room_name(session_id)),
        room_is_ours=wanted.room_name is None,
        agent_name=wanted.agent_name or settings.livekit_agent_name,
        deployment=wanted.deployment,
        mode=wanted.mode,
        models=wanted.models.model_dump(exclude_none=True),
        instructions=wanted.instructions,
        client_metadata=wanted.metadata,
        participant_identity=wanted.participant_identity or new_caller_identity(session_id),
        participant_name=wanted.participant_name,
        max_attempts=settings.dispatch_max_attempts,
        required_level=Level.READY if wanted.canary else wanted.require,
        canary=wanted.canary,
        requested_at=requested_at,
        deadline_at=requested_at + timedelta(seconds=settings.join_budget_s),
        next_check_at=requested_at + RELAY_GRACE,
        traceparent=begun_here(),
    )


def check_allowed(wanted: StartSession, settings: ApiSettings) -> None:
    """Raise `Problem` if the client asks for something that clients may not have."""
    check_metadata(wanted.metadata)
    if wanted.canary and wanted.room_name is not None:
        raise invalid_field("room_name", "a canary always gets a new room")
    check_agent_name(wanted.agent_name, settings)
    check_deployment(wanted.deployment, settings)
    _check_models(wanted.models, settings)


def check_agent_name(name: str | None, settings: ApiSettings, *, field: str = "agent_name") -> None:
    """Raise `Problem` if clients may not ask for this agent."""
    names = settings.allowed_agent_names
    if name and names and name not in names:
        raise invalid_field(field, f"must be one of {', '.join(names)}")


def check_deployment(name: str | None, settings: ApiSettings, *, field: str = "deployment") -> None:
    """Raise `Problem` if clients may not ask for this pool."""
    if name and name not in settings.allowed_deployments:
        allowed = ", ".join(settings.allowed_deployments) or "left out"
        raise invalid_field(field, f"must be {allowed}")


def check_metadata(
    metadata: dict[str, Any] | str, *, field: str = "metadata", most: int = MAX_METADATA_BYTES
) -> None:
    """Raise `Problem` if the metadata can't be stored or passed to the agent. `most` is in bytes."""
    if is_deeper(metadata, MAX_METADATA_DEPTH):
        raise invalid_field(field, f"must be nested at most {MAX_METADATA_DEPTH} deep")
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        size = len(client_metadata(metadata).encode())
    except ValueError:
        raise invalid_field(field, "must be storable: no NaN, no lone surrogate") from None
    if size > most:
        raise invalid_field(field, f"must be at most {most} bytes in UTF-8; it has {size}")
    if _NUL.search(text):
        raise invalid_field(field, "must not contain NUL")


def _check_models(models: Models, settings: ApiSettings) -> None:
    for field in ("stt", "llm", "tts", "realtime"):
        descriptor = getattr(models, field)
        if descriptor and not _matches(descriptor, settings.allowed_models):
            raise invalid_field(f"models.{field}", f"{descriptor} is not among the allowed models")
    if models.voice and not _matches(models.voice, settings.allowed_voices):
        raise invalid_field("models.voice", f"{models.voice} is not among the allowed voices")


def _matches(value: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)
