"""Decide which kind of fault a database error is. All parts of Rollcall use this module for it.

The kinds are those of docs/database.md. PostgreSQL says what is wrong by its SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html), SQLite by its result code
(https://www.sqlite.org/rescode.html). Other errors come from the driver or the system; mostly they mean that
there was no answer.
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
    StatementError,  # everything that a driver raises, and values that no column accepts
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
    OSError,
)
"""The exceptions that a session of `Database` raises because of the database."""

READ_ONLY: Final = "25006"
_LONGEST: Final = 300


class Kind(StrEnum):
    """What to do about a fault."""

    TRANSIENT = "transient"
    """Wait and try again: the fault ends by itself."""
    DATA = "data"
    """The data to be written is at fault. Trying again can't help, and other data is not affected."""
    DEPLOYMENT = "deployment"
    """The operator has to fix the database, its rights or the settings. Until then, give nothing up."""


@dataclass(frozen=True)
class Fault:
    """One classified error. Anybody may see `what`; only operators may see `said` and `mend`."""

    kind: Kind
    state: str
    what: str
    mend: str
    said: str = ""
    lasting: bool = True
    """False if it affects one statement or one connection, so that the next may succeed."""

    def __str__(self) -> str:
        """Return the sentence for operators: what happened, and how to fix it."""
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


# By the class of SQLSTATE, which is its first two characters; by the whole SQLSTATE where that differs.
_SQLSTATES: Final[dict[str, _Rule]] = {
    "08": _transient("the connection to the database is lost"),
    "0A": _deployment("the database lacks a feature", "use a version of PostgreSQL that is supported"),
    "21": _data("the database refuses a value"),
    "22": _data("the database refuses a value"),
    "23": _data("the database refuses a row"),
    READ_ONLY: _transient(
        "the database accepts no writes",
        "if a standby was reached, name the primary, or add target_session_attrs=read-write to DATABASE_URL",
        lasting=True,
    ),
    "25P03": _transient("the database has ended an idle transaction"),
    "25P04": _transient("a transaction took longer than the database allows"),
    "28": _deployment("the database refuses the login", "check user, password, LOGIN and pg_hba.conf"),
    "3D": _deployment("there is no such database", "create it, or correct DATABASE_URL"),
    "3F": _deployment("there is no such schema", _MIGRATE),
    "40": _transient("a transaction collided with another"),
    "42": _deployment("the database's schema is not the one that is needed", _MIGRATE),
    "42501": _deployment("the database denies a right", "GRANT the right to the user of DATABASE_URL"),
    "44": _data("the database refuses a row"),
    "53": _transient("the database has run out of a resource", "give it more of it", lasting=True),
    "53100": _transient("the database's disk is full", "free space, or enlarge the disk", lasting=True),
    "53200": _transient("the database is out of memory", "give it more memory", lasting=True),
    "53300": _transient(
        "the database accepts no more connections",
        "raise max_connections or the user's CONNECTION LIMIT, or run fewer processes",
        lasting=True,
    ),
    "54": _data("a row is more than the database can hold"),
    "55": _transient("the database is busy with what is needed"),
    "57": _transient("the database has stopped what it did"),
    "58": _deployment("the database can't use its own files", _LOG),
    "P0001": _data("a trigger refuses a row"),
    "P0004": _data("a trigger refuses a row"),
    "XX": _deployment("the database reports internal damage", _LOG),
}
_OTHER_SQLSTATE: Final = _deployment("the database refuses the statement", _LOG)

_FILE: Final = "check DATABASE_URL, the file's folder, and who may write there"
# By primary result code.
_SQLITE_CODES: Final[dict[int, _Rule]] = {
    sqlite3.SQLITE_PERM: _deployment("access to the database's file is denied", _FILE),
    sqlite3.SQLITE_BUSY: _transient("the database is busy with another's write"),
    sqlite3.SQLITE_LOCKED: _transient("the database is busy with another's write"),
    sqlite3.SQLITE_NOMEM: _transient("the database has no memory left", "give it more memory"),
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
    sqlite3.SQLITE_NOTADB: _deployment("the file is not a database", _FILE),
}
_OTHER_SQLITE: Final = _deployment("the database's schema is not the one that is needed", _MIGRATE)
_PRIMARY_CODE: Final = 0xFF
_DUPLICATES: Final = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})

# Errors without a code, checked in this order. asyncpg also raises ValueError for a value that can't be sent.
_BY_TYPE: Final[tuple[tuple[type[BaseException], _Rule], ...]] = (
    (PoolTimeoutError, _transient("this process has no database connection left")),
    (ssl.SSLCertVerificationError, _deployment("the database's certificate can't be verified", _SETTINGS)),
    (
        OSError,
        _transient("the database does not answer", "check that it runs, and that DATABASE_URL is right"),
    ),
    (
        asyncpg.TargetServerAttributeNotMatched,
        _transient("no database server has the wanted target_session_attrs"),
    ),
    (asyncpg.InvalidCachedStatementError, _transient("the database's schema has just changed")),
    (asyncpg.OutdatedSchemaCacheError, _transient("the database's schema has just changed")),
    (asyncpg.ClientConfigurationError, _deployment("the database can't be connected to", _SETTINGS)),
    (
        asyncpg.UnsupportedClientFeatureError,
        _deployment("the database asks for an unsupported feature", _SETTINGS),
    ),
    (asyncpg.InternalClientError, _deployment("the server that answers is not PostgreSQL", _SETTINGS)),
    (ValueError, _data("the database can't take a value")),
    (TypeError, _data("the database can't take a value")),
    (OverflowError, _data("the database can't take a value")),
    (asyncpg.InterfaceError, _transient("the connection to the database is lost")),
)
_UNKNOWN: Final = _deployment("the database can't be used", _LOG)


def fault_of(error: BaseException) -> Fault:
    """Classify an error of `DATABASE_ERRORS`, or one raised by a value that no column accepts."""
    # The innermost error is the driver's own.
    chain = list(_chain(error))[::-1]
    for each in chain:
        if isinstance(each, asyncpg.InvalidCachedStatementError):  # its code means a missing feature
            return _by_type(each)
        if isinstance(state := getattr(each, "sqlstate", None), str):
            # A customer's trigger may raise any text under any code.
            rule = _SQLSTATES.get(state) or _SQLSTATES.get(state[:2])
            return _fault(rule, state, each) if rule else _fault(_OTHER_SQLSTATE, state)
        if isinstance(each, sqlite3.Error) and (code := getattr(each, "sqlite_errorcode", None)) is not None:
            rule = _SQLITE_CODES.get(code & _PRIMARY_CODE, _OTHER_SQLITE)
            return _fault(rule, each.sqlite_errorname, each)
    return _by_type(next((each for each in chain if _rule_of(each) is not None), error))


def is_unique_violation(error: BaseException) -> bool:
    """Return whether the statement failed because a row with that key exists."""
    return fault_of(error).state in _DUPLICATES


def is_of_the_data(error: BaseException) -> bool:
    """Return whether the data to be written is at fault, and no other data is affected."""
    return fault_of(error).kind is Kind.DATA


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes: SQLAlchemy's, its adapter's, the driver's."""
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
    # The server's message about a refused row contains the row's content.
    told = error is not None and kind is not Kind.DATA
    said = str(error).strip().partition("\n")[0][:_LONGEST] if told else ""
    return Fault(kind, state, what, mend, said, lasting)
