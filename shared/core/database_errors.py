"""Table of database error codes: which errors are temporary.

Exception classes are not enough: a read-only server raises an `InternalError`, a revoked privilege a `ProgrammingError`,
and an operator can fix both. PostgreSQL's codes are in the appendix "PostgreSQL Error Codes" of its documentation, SQLite's
in "Result and Error Codes".
"""

from __future__ import annotations

import sqlite3
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import peewee
from playhouse.pool import MaxConnectionsExceeded

if TYPE_CHECKING:
    import psycopg
else:
    from peewee import psycopg  # None in an edge on SQLite


class ErrorKind(Enum):
    """Whether a failed statement can succeed when it is retried.

    TEMPORARY   the database is unavailable, refuses or is overloaded: retry later, on a new connection
    CONFLICT    another transaction holds a lock: retry, if possible in a separate transaction
    UNSUPPORTED a distributed database does not run the statement for rows of several shards, or a migration made its plan
                outdated: retry on a new connection, if possible in a transaction for each account
    CONSTRAINT  the statement violates a constraint: do not retry
    BUG         the statement is wrong: do not retry
    """

    TEMPORARY = "temporary"
    CONFLICT = "conflict"
    UNSUPPORTED = "unsupported"
    CONSTRAINT = "constraint"
    BUG = "bug"


# Two characters stand for a class of codes; a full code takes precedence over its class. Any other code is a bug.
SQLSTATES = MappingProxyType(
    {
        # feature not supported: Citus's refusal to lock rows of several shards; "cached plan must not change result type"
        "0A": ErrorKind.UNSUPPORTED,
        # connection exception; also PgBouncer's refusals (08P01), e.g. "server login has been failing"
        "08": ErrorKind.TEMPORARY,
        "23": ErrorKind.CONSTRAINT,  # integrity constraint violation
        "25006": ErrorKind.TEMPORARY,  # read_only_sql_transaction: a standby, or set by an operator
        "25P03": ErrorKind.TEMPORARY,  # idle_in_transaction_session_timeout
        "25P04": ErrorKind.TEMPORARY,  # transaction_timeout
        "26": ErrorKind.TEMPORARY,  # invalid_sql_statement_name: a pooler switched to a server without the prepared statement
        "28": ErrorKind.TEMPORARY,  # invalid authorization: the password is being rotated
        "3D": ErrorKind.TEMPORARY,  # invalid catalog name: the database is being restored
        "40": ErrorKind.CONFLICT,  # serialization failure, deadlock
        "40002": ErrorKind.CONSTRAINT,  # transaction_integrity_constraint_violation
        "42501": ErrorKind.TEMPORARY,  # insufficient_privilege: a privilege was revoked, or is not granted yet
        "42P05": ErrorKind.TEMPORARY,  # duplicate_prepared_statement: see 26
        "53": ErrorKind.TEMPORARY,  # insufficient resources: disk, memory, connections
        "55": ErrorKind.TEMPORARY,  # object not in prerequisite state
        "55006": ErrorKind.CONFLICT,  # object_in_use
        "55P03": ErrorKind.CONFLICT,  # lock_not_available
        "57": ErrorKind.TEMPORARY,  # operator intervention: shutdown, start, recovery
        "57014": ErrorKind.CONFLICT,  # query_canceled, by statement_timeout: the statement waited for a lock
        "58": ErrorKind.TEMPORARY,  # system error: I/O
        "XX": ErrorKind.BUG,  # data or index corrupted: an operator must repair it, and one bad row must not hold up the others
        # internal_error: "tuple concurrently updated", or the refusal of a pooler such as Supavisor
        "XX000": ErrorKind.TEMPORARY,
    }
)

# By primary result code.
SQLITE_CODES = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_LOCKED: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_NOMEM: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_READONLY: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_INTERRUPT: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_IOERR: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_FULL: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_CANTOPEN: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_PROTOCOL: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_PERM: ErrorKind.TEMPORARY,
        sqlite3.SQLITE_CONSTRAINT: ErrorKind.CONSTRAINT,
    }
)


# Classes whose messages are about the connection, the login or the state of the server, never about a statement's values.
_SERVER_CLASSES = {"08", "28", "3D", "53", "57"}

_DRIVER_ERRORS: tuple[type[Exception], ...] = (sqlite3.Error,)
_LOST: tuple[type[Exception], ...] = (peewee.OperationalError, peewee.InterfaceError)
_ABORTED: tuple[type[Exception], ...] = ()
if psycopg is not None:
    _DRIVER_ERRORS += (psycopg.Error,)
    _LOST += (psycopg.OperationalError, psycopg.InterfaceError)
    _ABORTED += (psycopg.errors.PipelineAborted,)


def classify_error(error: BaseException) -> ErrorKind:
    """Return the fault of a Peewee or driver error according to the tables. Any other exception is a bug."""
    if isinstance(error, MaxConnectionsExceeded):
        return ErrorKind.TEMPORARY
    if not isinstance(error, (peewee.PeeweeException, *_DRIVER_ERRORS)):
        return ErrorKind.BUG
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", None)
        if code is not None:
            return SQLITE_CODES.get(code & 0xFF, ErrorKind.BUG)
    code = sqlstate(error)
    if code is not None:
        return SQLSTATES.get(code) or SQLSTATES.get(code[:2], ErrorKind.BUG)
    if isinstance(driver, _ABORTED):  # a consequence of an earlier failed statement
        return ErrorKind.BUG
    # Errors raised by the driver itself have no code: these classes mean that the connection failed.
    return ErrorKind.TEMPORARY if isinstance(error, _LOST) else ErrorKind.BUG


def is_temporary(error: BaseException) -> bool:
    """Return whether a retry may succeed."""
    return classify_error(error) in (ErrorKind.TEMPORARY, ErrorKind.CONFLICT, ErrorKind.UNSUPPORTED)


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's error code of `error`, or None if it has none."""
    driver = _driver_error(error)
    return getattr(driver, "sqlstate", None)


def describe_error(error: BaseException) -> str:
    """Return `error` for a log line: class, code, and the message if it is about the connection or the server.

    Other messages are omitted because they may quote values.
    """
    driver = _driver_error(error)
    code = getattr(driver, "sqlite_errorname", None) or sqlstate(error)
    name = f"{type(driver or error).__name__}{f' ({code})' if code else ''}"
    if psycopg is not None and isinstance(driver, psycopg.OperationalError) and (code is None or code[:2] in _SERVER_CLASSES):
        return f"{name}: {str(driver).partition(chr(10))[0]}"
    return name


def _driver_error(error: BaseException) -> Exception | None:
    """Return the driver's exception behind Peewee's, which keeps it as `orig`; `batch_transaction` keeps it as the cause."""
    for candidate in (error, getattr(error, "orig", None), error.__cause__, error.__context__):
        if isinstance(candidate, _DRIVER_ERRORS):
            return candidate
    return None
