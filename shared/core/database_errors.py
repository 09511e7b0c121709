"""Table of database error codes: which errors are temporary.

Exception classes are not enough: a read-only server raises an `InternalError`, a revoked privilege a `ProgrammingError`,
and an operator can fix both. PostgreSQL's codes are in the appendix "PostgreSQL Error Codes" of its documentation, SQLite's
in "Result and Error Codes".
"""

from __future__ import annotations

import sqlite3
from enum import Enum
from types import MappingProxyType

import peewee
import psycopg
from playhouse.pool import MaxConnectionsExceeded


class Fault(Enum):
    """Whether a failed statement can succeed when it is retried.

    TEMPORARY   the database is unavailable, refuses or is overloaded: retry later, on a new connection
    CONFLICT    another transaction holds a lock: retry, if possible in a separate transaction
    CONSTRAINT  the statement violates a constraint: do not retry
    BUG         the statement is wrong: do not retry
    """

    TEMPORARY = "temporary"
    CONFLICT = "conflict"
    CONSTRAINT = "constraint"
    BUG = "bug"


# Two characters stand for a class of codes; a full code takes precedence over its class. Any other code is a bug.
SQLSTATES = MappingProxyType(
    {
        "0A": Fault.TEMPORARY,  # feature not supported: e.g. "cached plan must not change result type" after a migration
        "08": Fault.TEMPORARY,  # connection exception; also PgBouncer's refusals (08P01), e.g. "server login has been failing"
        "23": Fault.CONSTRAINT,  # integrity constraint violation
        "25006": Fault.TEMPORARY,  # read_only_sql_transaction: a standby, or set by an operator
        "25P03": Fault.TEMPORARY,  # idle_in_transaction_session_timeout
        "25P04": Fault.TEMPORARY,  # transaction_timeout
        "26": Fault.TEMPORARY,  # invalid_sql_statement_name: a pooler switched to a server without the prepared statement
        "28": Fault.TEMPORARY,  # invalid authorization: the password is being rotated
        "3D": Fault.TEMPORARY,  # invalid catalog name: the database is being restored
        "40": Fault.CONFLICT,  # serialization failure, deadlock
        "40002": Fault.CONSTRAINT,  # transaction_integrity_constraint_violation
        "42501": Fault.TEMPORARY,  # insufficient_privilege: a privilege was revoked, or is not granted yet
        "42P05": Fault.TEMPORARY,  # duplicate_prepared_statement: see 26
        "53": Fault.TEMPORARY,  # insufficient resources: disk, memory, connections
        "55": Fault.TEMPORARY,  # object not in prerequisite state
        "55006": Fault.CONFLICT,  # object_in_use
        "55P03": Fault.CONFLICT,  # lock_not_available
        "57": Fault.TEMPORARY,  # operator intervention: shutdown, start, recovery
        "57014": Fault.CONFLICT,  # query_canceled, by statement_timeout: the statement waited for a lock
        "58": Fault.TEMPORARY,  # system error: I/O
        "XX": Fault.BUG,  # data or index corrupted: an operator must repair it, and one bad row must not hold up the others
        "XX000": Fault.TEMPORARY,  # internal_error: "tuple concurrently updated", or the refusal of a pooler such as Supavisor
    }
)

# By primary result code.
SQLITE_CODES = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: Fault.TEMPORARY,
        sqlite3.SQLITE_LOCKED: Fault.TEMPORARY,
        sqlite3.SQLITE_NOMEM: Fault.TEMPORARY,
        sqlite3.SQLITE_READONLY: Fault.TEMPORARY,
        sqlite3.SQLITE_INTERRUPT: Fault.TEMPORARY,
        sqlite3.SQLITE_IOERR: Fault.TEMPORARY,
        sqlite3.SQLITE_FULL: Fault.TEMPORARY,
        sqlite3.SQLITE_CANTOPEN: Fault.TEMPORARY,
        sqlite3.SQLITE_PROTOCOL: Fault.TEMPORARY,
        sqlite3.SQLITE_PERM: Fault.TEMPORARY,
        sqlite3.SQLITE_CONSTRAINT: Fault.CONSTRAINT,
    }
)


def fault_of(error: BaseException) -> Fault:
    """Return the fault of a Peewee or driver error according to the tables. Any other exception is a bug."""
    if isinstance(error, MaxConnectionsExceeded):
        return Fault.TEMPORARY
    if not isinstance(error, peewee.PeeweeException | psycopg.Error | sqlite3.Error):
        return Fault.BUG
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", None)
        if code is not None:
            return SQLITE_CODES.get(code & 0xFF, Fault.BUG)
    code = sqlstate(error)
    if code is not None:
        return SQLSTATES.get(code) or SQLSTATES.get(code[:2], Fault.BUG)
    if isinstance(driver, psycopg.errors.PipelineAborted):  # a consequence of an earlier failed statement
        return Fault.BUG
    # Errors raised by the driver itself have no code: these classes mean that the connection failed.
    lost = (peewee.OperationalError, peewee.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
    return Fault.TEMPORARY if isinstance(error, lost) else Fault.BUG


def may_pass(error: BaseException) -> bool:
    """Return whether a retry may succeed."""
    return fault_of(error) in (Fault.TEMPORARY, Fault.CONFLICT)


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's error code of `error`, or None if it has none."""
    driver = _driver_error(error)
    return driver.sqlstate if isinstance(driver, psycopg.Error) else None


def describe(error: BaseException) -> str:
    """Return `error` for a log line: class and code. The message is omitted because it may quote values."""
    driver = _driver_error(error)
    code = getattr(driver, "sqlite_errorname", None) or sqlstate(error)
    name = type(driver or error).__name__
    return f"{name} ({code})" if code else name


def _driver_error(error: BaseException) -> psycopg.Error | sqlite3.Error | None:
    """Return the driver's exception behind Peewee's, which keeps it as `orig`; `batch_transaction` keeps it as the cause."""
    for candidate in (error, getattr(error, "orig", None), error.__cause__, error.__context__):
        if isinstance(candidate, psycopg.Error | sqlite3.Error):
            return candidate
    return None
