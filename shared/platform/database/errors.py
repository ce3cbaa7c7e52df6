"""Which kind of fault a database's error is: every part of Rollcall asks here, and nowhere else.

The kinds are those of docs/database.md. PostgreSQL says by its SQLSTATE what is wrong
(https://www.postgresql.org/docs/current/errcodes-appendix.html), SQLite by its result code
(https://www.sqlite.org/rescode.html). What neither has said is the driver's or the
system's: no answer, mostly.
"""

import sqlite3
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

DATABASE_ERRORS: Final = (
    StatementError,  # all that a driver raises, and values that no column takes
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
    OSError,
)
"""What a session of `Database` raises on the database's account."""

READ_ONLY: Final = "25006"
_LONGEST: Final = 300


class Kind(StrEnum):
    """What is to be done about a fault."""

    TRANSIENT = "transient"
    """Wait, and try again: it ends without us."""
    DATA = "data"
    """What was to be written is at fault: to try again can't help, and others are not concerned."""
    DEPLOYMENT = "deployment"
    """Somebody has to mend the database, its rights or the settings; until then nothing is given up."""


@dataclass(frozen=True)
class Fault:
    """One error, understood. `what` may be told to anybody, `said` and `mend` to operators."""

    kind: Kind
    state: str
    what: str
    mend: str
    said: str = ""
    lasting: bool = True
    """False: of one statement or one connection, so that the next may be well."""

    def __str__(self) -> str:
        """Return the sentence for people: what happened, and what mends it."""
        said = f" ({self.said})" if self.said else ""
        return f"{self.what} [{self.state}]{said}: {self.mend}"


_WAIT: Final = "it goes on by itself"
_MIGRATE: Final = "run python -m shared.core.migrate, and undo what was changed by hand"
_SETTINGS: Final = "check DATABASE_URL and the login"
_LOG: Final = "look into the database's log"

_Rule = tuple[Kind, str, str, bool]


def _transient(what: str, mend: str = _WAIT, *, lasting: bool = False) -> _Rule:
    return Kind.TRANSIENT, what, mend, lasting


def _data(what: str) -> _Rule:
    return Kind.DATA, what, "look at what was to be written", False


def _deployment(what: str, mend: str) -> _Rule:
    return Kind.DEPLOYMENT, what, mend, True


# By a whole SQLSTATE where one differs from its class, which is the first two characters.
_SQLSTATES: Final[dict[str, _Rule]] = {
    "08": _transient("the connection to the database is lost"),
    "0A": _deployment("the database lacks a feature", "use a version of PostgreSQL that is supported"),
    "21": _data("the database refuses a value"),
    "22": _data("the database refuses a value"),
    "23": _data("the database refuses a row"),
    READ_ONLY: _transient(
        "the database takes no writes",
        "if a standby was reached, name the primary, or add target_session_attrs=read-write to DATABASE_URL",
        lasting=True,
    ),
    "25P03": _transient("the database has ended an idle transaction"),
    "25P04": _transient("a transaction took longer than the database allows"),
    "28": _deployment("the database refuses the login", "check user, password, LOGIN and pg_hba.conf"),
    "3D": _deployment("there is no such database", "create it, or correct DATABASE_URL"),
    "3F": _deployment("there is no such schema", _MIGRATE),
    "40": _transient("a transaction met another"),
    "42": _deployment("the database's schema is not the one that is needed", _MIGRATE),
    "42501": _deployment("the database withholds a right", "GRANT it to the user of DATABASE_URL"),
    "44": _data("the database refuses a row"),
    "53": _transient("the database has run out of a resource", "give it more of it", lasting=True),
    "53100": _transient("the database's disk is full", "free space, or enlarge the disk", lasting=True),
    "53200": _transient("the database is out of memory", "give it more memory", lasting=True),
    "53300": _transient(
        "the database takes no more connections",
        "raise max_connections or the user's CONNECTION LIMIT, or run fewer processes",
        lasting=True,
    ),
    "54": _data("a row is more than the database can hold"),
    "55": _transient("the database is busy with what is needed"),
    "57": _transient("the database has stopped what it did"),
    "58": _deployment("the database's own files can't be used", _LOG),
    "P0001": _data("a trigger refuses a row"),
    "P0004": _data("a trigger refuses a row"),
    "XX": _deployment("the database has found itself broken", _LOG),
}
_OTHER_SQLSTATE: Final = _deployment("the database refuses what is asked of it", _LOG)

_FILE: Final = "check DATABASE_URL, the file's folder, and who may write there"
# By primary result code.
_SQLITE_CODES: Final[dict[int, _Rule]] = {
    sqlite3.SQLITE_PERM: _deployment("the database's file may not be used", _FILE),
    sqlite3.SQLITE_BUSY: _transient("the database is busy with another's write"),
    sqlite3.SQLITE_LOCKED: _transient("the database is busy with another's write"),
    sqlite3.SQLITE_NOMEM: _transient("there is no memory for the database", "give it more memory"),
    sqlite3.SQLITE_READONLY: _deployment("the database's file can't be written", _FILE),
    sqlite3.SQLITE_INTERRUPT: _transient("the database has stopped what it did"),
    sqlite3.SQLITE_IOERR: _transient("the disk fails", "check the disk", lasting=True),
    sqlite3.SQLITE_CORRUPT: _deployment("the database's file is damaged", "restore it from a backup"),
    sqlite3.SQLITE_FULL: _transient("the disk is full", "free space, or enlarge the disk", lasting=True),
    sqlite3.SQLITE_CANTOPEN: _deployment("the database's file can't be opened", _FILE),
    sqlite3.SQLITE_PROTOCOL: _transient("the database is busy with another's write"),
    sqlite3.SQLITE_SCHEMA: _transient("the database's schema has just changed"),
    sqlite3.SQLITE_TOOBIG: _data("a row is more than the database can hold"),
    sqlite3.SQLITE_CONSTRAINT: _data("the database refuses a row"),
    sqlite3.SQLITE_MISMATCH: _data("the database refuses a value"),
    sqlite3.SQLITE_NOTADB: _deployment("the file is no database", _FILE),
}
_OTHER_SQLITE: Final = _deployment("the database's schema is not the one that is needed", _MIGRATE)
_PRIMARY_CODE: Final = 0xFF
_DUPLICATES: Final = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})

# In this order, of what has no code. A value that can't be sent is a ValueError with asyncpg, too.
_BY_TYPE: Final[tuple[tuple[type[BaseException], _Rule], ...]] = (
    (PoolTimeoutError, _transient("this process has no database connection left")),
    (ssl.SSLCertVerificationError, _deployment("the database's certificate can't be verified", _SETTINGS)),
    (OSError, _transient("the database does not answer", "see that it runs, and that DATABASE_URL is right")),
    (asyncpg.TargetServerAttributeNotMatched, _transient("no database server is of the kind that is wanted")),
    (asyncpg.InvalidCachedStatementError, _transient("the database's schema has just changed")),
    (asyncpg.OutdatedSchemaCacheError, _transient("the database's schema has just changed")),
    (asyncpg.ClientConfigurationError, _deployment("the database can't be connected to", _SETTINGS)),
    (
        asyncpg.UnsupportedClientFeatureError,
        _deployment("the database asks for what can't be done", _SETTINGS),
    ),
    (asyncpg.InternalClientError, _deployment("what answers is no PostgreSQL", _SETTINGS)),
    (ValueError, _data("the database can't take a value")),
    (TypeError, _data("the database can't take a value")),
    (OverflowError, _data("the database can't take a value")),
    (asyncpg.InterfaceError, _transient("the connection to the database is lost")),
)
_UNKNOWN: Final = _deployment("the database can't be used", _LOG)


def fault_of(error: BaseException) -> Fault:
    """Understand an error of `DATABASE_ERRORS`, or one that a value raised which no column takes."""
    # The innermost is the driver's own.
    chain = list(_chain(error))[::-1]
    for each in chain:
        if isinstance(each, asyncpg.InvalidCachedStatementError):  # its code is a missing feature's
            return _by_type(each)
        if isinstance(state := getattr(each, "sqlstate", None), str):
            # What a trigger of somebody's says, under a code of its own, may be anything.
            rule = _SQLSTATES.get(state) or _SQLSTATES.get(state[:2])
            return _fault(rule, state, each) if rule else _fault(_OTHER_SQLSTATE, state)
        if isinstance(each, sqlite3.Error) and (code := getattr(each, "sqlite_errorcode", None)) is not None:
            rule = _SQLITE_CODES.get(code & _PRIMARY_CODE, _OTHER_SQLITE)
            return _fault(rule, each.sqlite_errorname, each)
    return _by_type(next((each for each in chain if _rule_of(each) is not None), error))


def is_unique_violation(error: BaseException) -> bool:
    """True if the statement failed because a row with that key is there already."""
    return fault_of(error).state in _DUPLICATES


def is_of_the_data(error: BaseException) -> bool:
    """True if what was to be written is at fault, and nobody else is concerned."""
    return fault_of(error).kind is Kind.DATA


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made of: SQLAlchemy's, its adapter's, the driver's."""
    seen: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in seen:
        seen.add(id(left))
        yield left
        left = getattr(left, "orig", None) or left.__cause__


def _rule_of(error: BaseException) -> _Rule | None:
    return next((rule for kind, rule in _BY_TYPE if isinstance(error, kind)), None)


def _by_type(error: BaseException) -> Fault:
    return _fault(_rule_of(error) or _UNKNOWN, type(error).__name__, error)


def _fault(rule: _Rule, state: str, error: BaseException | None = None) -> Fault:
    kind, what, mend, lasting = rule
    # What the server says of a row that it refuses has the row's content.
    told = error is not None and kind is not Kind.DATA
    said = str(error).strip().partition("\n")[0][:_LONGEST] if told else ""
    return Fault(kind, state, what, mend, said, lasting)
