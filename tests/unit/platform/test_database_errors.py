"""Every error of a database is of one of three kinds: to be waited out, of the data, or of the deployment."""

import sqlite3
import ssl
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.platform.database.errors import DATABASE_ERRORS, Fault, Kind, fault_of, is_unique_violation
from shared.platform.database.state import REMEMBERED_S, DatabaseState

SQLSTATES = {
    Kind.TRANSIENT: (
        *("08000", "08006", "08P01", "25006", "25P03", "40001", "40P01", "53000", "53100", "53200", "53300"),
        *("55000", "55006", "55P03", "57000", "57014", "57P01", "57P02", "57P03", "57P05"),
    ),
    Kind.DATA: (
        *("21000", "22001", "22003", "22021", "22P02", "22P05", "23000", "23502", "23503", "23505", "23514"),
        *("23P01", "44000", "54000", "54001", "P0001"),
    ),
    Kind.DEPLOYMENT: (
        *("0A000", "25001", "25P02", "28000", "28P01", "2BP01", "3D000", "3F000", "42501", "42601", "42703"),
        *("42883", "42P01", "42P10", "58030", "58P01", "F0000", "HV000", "P0000", "XX000", "XX001", "ZZ123"),
    ),
}


def driver_error(state: str) -> asyncpg.PostgresError:
    """As the driver makes it of what a server has sent."""
    fields = {"S": "ERROR", "V": "ERROR", "C": state, "M": "what the server says"}
    return asyncpg.PostgresError.new(fields)


@pytest.mark.parametrize(
    ("kind", "state"), [(kind, state) for kind in SQLSTATES for state in SQLSTATES[kind]]
)
def test_an_sqlstate_is_of_one_kind_however_the_error_is_wrapped(kind: Kind, state: str) -> None:
    raw = driver_error(state)
    wrapped = DBAPIError("SELECT secret", {}, raw)
    for error in (raw, wrapped):
        fault = fault_of(error)
        assert (fault.kind, fault.state) == (kind, state)
        assert fault.what
        assert fault.mend
        assert "secret" not in str(fault)
        assert isinstance(error, DATABASE_ERRORS)


@pytest.mark.parametrize("state", ["23514", "P0001", "ZZ123"])
def test_what_a_refusal_may_say_of_the_row_is_told_to_nobody(state: str) -> None:
    assert "what the server says" not in str(fault_of(driver_error(state)))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "refused"), Kind.TRANSIENT),
        (TimeoutError(), Kind.TRANSIENT),
        (PoolTimeoutError("none is free"), Kind.TRANSIENT),
        (asyncpg.InterfaceError("connection is closed"), Kind.TRANSIENT),
        (asyncpg.TargetServerAttributeNotMatched("no primary"), Kind.TRANSIENT),
        (asyncpg.InvalidCachedStatementError("cached plan must not change result type"), Kind.TRANSIENT),
        (asyncpg.OutdatedSchemaCacheError("schema changed"), Kind.TRANSIENT),
        (ssl.SSLCertVerificationError("self-signed"), Kind.DEPLOYMENT),
        (asyncpg.ClientConfigurationError("no such sslmode"), Kind.DEPLOYMENT),
        (asyncpg.ProtocolError("unexpected message"), Kind.DEPLOYMENT),
        (asyncpg.DataError("invalid input for query argument $1"), Kind.DATA),
        (StatementError("can't be bound", "SELECT 1", {}, ValueError("a naive time")), Kind.DATA),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), Kind.DATA),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_code_is_told_by_its_type(error: Exception, kind: Kind) -> None:
    assert fault_of(error).kind is kind
    assert fault_of(DBAPIError("SELECT 1", {}, error)).kind is kind


@pytest.fixture
def sqlite() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT UNIQUE CHECK (name <> 'x')) STRICT"
    )
    connection.execute("INSERT INTO part VALUES (1, 'one')")
    yield connection
    connection.close()


def raised_by(connection: sqlite3.Connection, statement: str, *values: Any) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as raised:
        connection.execute(statement, values)
    return raised.value


@pytest.mark.parametrize(
    ("statement", "kind", "state"),
    [
        ("SELECT * FROM whole", Kind.DEPLOYMENT, "SQLITE_ERROR"),
        ("SELECT colour FROM part", Kind.DEPLOYMENT, "SQLITE_ERROR"),
        ("INSERT INTO part VALUES (1, 'two')", Kind.DATA, "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("INSERT INTO part VALUES (2, 'one')", Kind.DATA, "SQLITE_CONSTRAINT_UNIQUE"),
        ("INSERT INTO part VALUES (2, 'x')", Kind.DATA, "SQLITE_CONSTRAINT_CHECK"),
        ("INSERT INTO part VALUES ('a', 'b')", Kind.DATA, "SQLITE_MISMATCH"),
        ("INSERT INTO part VALUES (2, zeroblob(2000000000))", Kind.DATA, "SQLITE_TOOBIG"),
    ],
)
def test_sqlite_says_by_its_code(sqlite: sqlite3.Connection, statement: str, kind: Kind, state: str) -> None:
    fault = fault_of(raised_by(sqlite, statement))
    assert (fault.kind, fault.state) == (kind, state)


def test_sqlite_that_is_full_or_cannot_write(sqlite: sqlite3.Connection) -> None:
    sqlite.execute("PRAGMA query_only=ON")
    assert fault_of(raised_by(sqlite, "DELETE FROM part")).kind is Kind.DEPLOYMENT
    sqlite.execute("PRAGMA query_only=OFF")
    [[pages]] = sqlite.execute("PRAGMA page_count")
    sqlite.execute(f"PRAGMA max_page_count={pages}")
    full = fault_of(raised_by(sqlite, "INSERT INTO part VALUES (2, printf('%.*c', 100000, 'y'))"))
    assert (full.kind, full.state, full.lasting) == (Kind.TRANSIENT, "SQLITE_FULL", True)


@pytest.mark.parametrize("state", ["23505", "23514", "42703"])
def test_only_a_duplicate_is_one(state: str) -> None:
    assert is_unique_violation(driver_error(state)) is (state == "23505")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(statement: str | None, state: str) -> Exception:
    raw = driver_error(state)
    return raw if statement is None else DBAPIError(statement, {}, raw)


def what_fails(state: DatabaseState) -> str | None:
    fault: Fault | None = state.what_fails()
    return None if fault is None else fault.state


def test_what_keeps_failing_is_told_until_it_goes_well_or_is_tried_no_more() -> None:
    clock = Clock()
    engine = create_engine("sqlite://")
    state = DatabaseState(engine, clock=clock)
    for passing in ("40001", "55P03", "57014", "57P01", "23505"):
        state.failed(failing("SELECT 1", passing))
        assert what_fails(state) is None
    state.failed(failing("SELECT 1", "42703"))
    state.failed(failing("SELECT 2", "42501"))
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 2")
        assert what_fails(state) == "42703"
        connection.exec_driver_sql("SELECT 1")
    assert what_fails(state) is None
    state.failed(failing("SELECT 1", "53100"))
    clock.now += REMEMBERED_S - 1
    assert what_fails(state) == "53100"
    clock.now += 2
    assert what_fails(state) is None


def test_a_login_that_is_refused_is_told_until_somebody_has_connected() -> None:
    engine = create_engine("sqlite://")
    state = DatabaseState(engine)
    state.failed(failing(None, "28P01"))
    assert what_fails(state) == "28P01"
    with engine.connect():
        assert what_fails(state) is None
