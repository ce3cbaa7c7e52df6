"""Transitions of a session: the change, its event and the compare-and-set in one transaction.

A lost race is a normal result (`False`); a forbidden transition raises `InvalidTransition`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Insert, Update, bindparam, insert, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from shared.contracts.causes import ADVICE, Cause
from shared.contracts.events import Event, SessionFailed
from shared.contracts.identifiers import new_id
from shared.contracts.sessions import TERMINAL, SessionStatus, check_transition
from shared.core.sessions.choices import choices_for
from shared.core.sessions.metrics import session_moved, session_requested
from shared.core.sessions.tables import EventRow, SessionRow
from shared.core.sessions.trace import session_over
from shared.platform.database.columns import table_of
from shared.platform.database.database import after_commit
from shared.platform.database.insert import is_on_postgres
from shared.platform.tracing.tracing import here

# How soon a verifier must have cleared the room of a session that is over.
CLOSE_WITHIN: Final = timedelta(seconds=1)


async def add_session(db: AsyncSession, row: SessionRow, *, event: Event) -> None:
    """Insert a new session together with its first event, and choose its pool and its profile's version."""
    await _choose(db, row)
    first = _begin(row, event)
    await db.execute(_INSERT_SESSION, _values(row))
    await db.execute(_INSERT_EVENT, first)
    after_commit(db, partial(_session_added, row))


async def insert_session(db: AsyncSession, row: SessionRow, *, event: Event) -> None:
    """Like `add_session`, in one statement for `Database.autocommit` on PostgreSQL; it costs half as much."""
    await _choose(db, row)
    first = _begin(row, event)
    await db.execute(_INSERT_BOTH, _named(_SESSIONS, _values(row)) | _named(_EVENTS, first))
    _session_added(row)


async def advance(
    db: AsyncSession,
    row: SessionRow,
    status: SessionStatus,
    *,
    event: Event,
    now: datetime,
    **changes: Any,
) -> bool:
    """Move `row` to `status`, set `changes`, and record `event`; return True if this writer won.

    If this writer won, `row` is updated; if another writer was first, `row` stays unchanged. Raises
    `InvalidTransition` if the table of transitions does not allow it.
    """
    before = row.status
    check_transition(SessionStatus(before), status)
    if not await _compare_and_set(db, row, {"status": status, **changes}, tells=_event(row, event, now)):
        return False
    after_commit(db, partial(session_moved, row, before=before))
    if status in TERMINAL:
        after_commit(db, partial(session_over, row, at=now))
    return True


async def end(
    db: AsyncSession, row: SessionRow, status: SessionStatus, *, event: Event, now: datetime, **changes: Any
) -> bool:
    """Move `row` to a terminal `status`, and make its room due for clearing; return True if this writer won.

    The event enqueues the clearing; if it gets lost, the sweep enqueues it after `CLOSE_WITHIN`. This also
    clears the claim and `waiting_for`. `changes` override these values: an expired reservation without a
    room, for example, has nothing to clear.
    """
    over: dict[str, Any] = {
        "ended_at": now,
        "waiting_for": None,
        "claimed_until": None,
        "next_check_at": now + CLOSE_WITHIN,
    }
    return await advance(db, row, status, event=event, now=now, **(over | changes))


async def fail(
    db: AsyncSession, row: SessionRow, *, cause: Cause, evidence: dict[str, Any], now: datetime
) -> bool:
    """Fail the session with its cause and evidence, by the critical event; return True if this writer won."""
    event = SessionFailed(
        attempt=row.attempt,
        cause=cause,
        evidence=evidence,
        advice=ADVICE[cause],
        agent_joined=row.active_at is not None,
        revivals=row.revivals,
    )
    return await end(db, row, SessionStatus.FAILED, event=event, now=now, cause=cause, evidence=evidence)


def is_claimed(row: SessionRow, now: datetime) -> bool:
    """Return whether a task works on the session, or has left it alone until a later time."""
    return row.claimed_until is not None and row.claimed_until > now


async def claim(db: AsyncSession, row: SessionRow, **changes: Any) -> bool:
    """Change `row` without changing its status.

    Return True if no other writer changed it since it was read.
    """
    return await _compare_and_set(db, row, changes)


async def record(db: AsyncSession, row: SessionRow, event: Event, *, now: datetime, **changes: Any) -> None:
    """Add an event without a transition, and set columns on which no transition depends, also in `row`."""
    these = {"of_id": row.id, **_new(changes)}
    sequence = await _execute(db, frozenset(changes), these, compares=False, tells=_event(row, event, now))
    if sequence is not None:
        _set(row, changes | {"last_sequence": sequence})


async def _choose(db: AsyncSession, row: SessionRow) -> None:
    if row.status == SessionStatus.RESERVED:
        return  # chosen when its caller comes
    for name, value in (await choices_for(db, row)).items():
        setattr(row, name, value)


def _begin(row: SessionRow, event: Event) -> dict[str, Any]:
    row.last_sequence = 1
    return _event(row, event, row.requested_at) | {"sequence": 1}


def _session_added(row: SessionRow) -> None:
    if row.status == SessionStatus.REQUESTED:
        session_requested(row)


async def _compare_and_set(
    db: AsyncSession, row: SessionRow, changes: dict[str, Any], *, tells: dict[str, Any] | None = None
) -> bool:
    """Change the row, and insert the event that `tells` of it, unless somebody changed the row meanwhile."""
    these = {"of_id": row.id, "of_version": row.version, **_new(changes)}
    sequence = await _execute(db, frozenset(changes), these, compares=True, tells=tells)
    if sequence is None:
        return False
    _set(row, changes | {"version": row.version + 1, "last_sequence": sequence})
    return True


def _set(row: SessionRow, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        set_committed_value(row, name, value)


async def _execute(
    db: AsyncSession,
    attributes: frozenset[str],
    values: dict[str, Any],
    *,
    compares: bool,
    tells: dict[str, Any] | None,
) -> int | None:
    """Return the last event's sequence number; None if no row was changed.

    The change and its event are one statement on PostgreSQL, which halves their cost. SQLite has none that
    writes to two tables.
    """
    sequence: int | None
    if tells is not None and is_on_postgres(db):
        both = _change_and_tell(attributes, compares=compares)
        sequence = await db.scalar(both, values | _named(_EVENTS, tells))
        return sequence
    change = _change(attributes, compares=compares, with_event=tells is not None)
    sequence = await db.scalar(change, values)
    if sequence is not None and tells is not None:
        await db.execute(_INSERT_EVENT, tells | {"sequence": sequence})
    return sequence


def _event(row: SessionRow, event: Event, now: datetime) -> dict[str, Any]:
    """Return the values of an event's row, by column, without its number in the sequence."""
    return {
        "id": new_id(),
        "session_id": row.id,
        "type": event.type,
        "severity": event.severity,
        "data": event.model_dump(mode="json"),
        "occurred_at": now,
        "published_at": None,
        "traceparent": here(row.traceparent),
    }


# The statements of every step of every session, for tables and not for objects. Each is built once, since
# SQLAlchemy takes longer to build a statement than to run it.
_SESSIONS: Final = table_of(SessionRow)
_EVENTS: Final = table_of(EventRow)
_ATTRIBUTES: Final = {each.key: each.columns[0] for each in inspect(SessionRow).column_attrs}
_INSERT_SESSION: Final = insert(_SESSIONS)
_INSERT_EVENT: Final = insert(_EVENTS)


@cache
def _change(attributes: frozenset[str], *, compares: bool, with_event: bool) -> Update:
    """Return the UPDATE of the session `of_id` that sets these attributes, by the parameters of `_new`.

    compares: only if the row still has `of_version`, which then rises.
    with_event: count the event. Others may add events without a transition, so the database's number counts.
    """
    old = _SESSIONS.c
    change = update(_SESSIONS).where(old.id == bindparam("of_id"))
    values: dict[Any, Any] = {
        _ATTRIBUTES[name]: bindparam(f"new_{name}", type_=_ATTRIBUTES[name].type) for name in attributes
    }
    if compares:
        change = change.where(old.version == bindparam("of_version"))
        values[old.version] = old.version + 1
    if with_event:
        values[old.last_sequence] = old.last_sequence + 1
    return change.values(values).returning(old.last_sequence)


@cache
def _change_and_tell(attributes: frozenset[str], *, compares: bool) -> Insert:
    """Return `_change` and the INSERT of its event in one statement, for PostgreSQL."""
    changed = _change(attributes, compares=compares, with_event=True).cte("changed")
    event = _bound(_EVENTS) | {"sequence": changed.c.last_sequence}
    told = select(*(event[column.name] for column in _EVENTS.columns)).select_from(changed)
    return insert(_EVENTS).from_select(list(_EVENTS.columns), told).returning(_EVENTS.c.sequence)


def _new(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in changes.items()}


def _values(row: SessionRow) -> dict[str, Any]:
    """Return the values of a session's row, by column."""
    return {column.name: getattr(row, name) for name, column in _ATTRIBUTES.items()}


def _bound(table: Any) -> dict[str, Any]:
    """Return the bind parameters of each column in a statement with rows of several tables."""
    return {
        column.name: bindparam(f"{table.name}__{column.name}", type_=column.type) for column in table.columns
    }


def _named(table: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names that `_bound` gives them."""
    return {f"{table.name}__{column}": value for column, value in values.items()}


_INSERT_BOTH: Final = (
    insert(_EVENTS).values(_bound(_EVENTS)).add_cte(insert(_SESSIONS).values(_bound(_SESSIONS)).cte("new"))
)
