"""Which database errors are temporary: the SQLSTATE table, applied to errors as drivers and Peewee raise them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import peewee
import psycopg
import pytest
from playhouse.pool import MaxConnectionsExceeded

from shared.core.database import (
    bind_database,
    connection_generation,
    database,
    drop_connection,
    open_database,
    snapshot,
    transaction,
)
from shared.core.database_errors import ErrorKind, classify_error, describe_error, is_temporary, sqlstate
from shared.core.errors import InvalidApiKey
from shared.ledger import batch_transaction
from shared.models import Account
from tests import factories
from tests.servers.postgres import Postgres


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        *(
            (code, ErrorKind.TEMPORARY)
            for code in ("08000", "08003", "08006", "08P01", "25006", "25P03", "26000", "28P01", "3D000")
        ),
        *(
            (code, ErrorKind.TEMPORARY)
            for code in ("42501", "42P05", "53100", "53200", "53300", "55000", "57P01", "57P02", "57P03", "XX000")
        ),
        ("0A000", ErrorKind.UNSUPPORTED),
        *((code, ErrorKind.CONFLICT) for code in ("40001", "40P01", "55006", "55P03", "57014")),
        *((code, ErrorKind.CONSTRAINT) for code in ("23502", "23503", "23505", "23514", "40002")),
        *((code, ErrorKind.BUG) for code in ("22003", "25P02", "42601", "42703", "42P01", "XX001", "XX002", "P0001")),
    ],
)
def test_a_code_takes_precedence_over_its_class(code: str, fault: ErrorKind) -> None:
    driver = type("Refused", (psycopg.Error,), {"sqlstate": code})("refused")
    assert classify_error(driver) is fault
    assert classify_error(peewee.InternalError(driver, "refused")) is fault
    assert is_temporary(driver) is (fault in (ErrorKind.TEMPORARY, ErrorKind.CONFLICT, ErrorKind.UNSUPPORTED))


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (peewee.OperationalError("the connection is lost"), ErrorKind.TEMPORARY),
        (peewee.InterfaceError("connection already closed"), ErrorKind.TEMPORARY),
        (psycopg.OperationalError("connection timeout expired"), ErrorKind.TEMPORARY),
        (MaxConnectionsExceeded(), ErrorKind.TEMPORARY),
        (psycopg.errors.PipelineAborted("the statement before it failed"), ErrorKind.BUG),
        (peewee.ProgrammingError("cannot adapt type"), ErrorKind.BUG),
        (ValueError("a mistake"), ErrorKind.BUG),
        (InvalidApiKey(), ErrorKind.BUG),
    ],
)
def test_errors_without_a_code(error: Exception, fault: ErrorKind) -> None:
    assert classify_error(error) is fault


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (psycopg.OperationalError("connection failed:\nIs it running?"), "OperationalError: connection failed:"),
        (psycopg.errors.ProtocolViolation("login fails"), "ProtocolViolation (08P01): login fails"),
        (psycopg.errors.QueryCanceled("statement timeout"), "QueryCanceled (57014): statement timeout"),
        (psycopg.errors.DeadlockDetected("while locking tuple"), "DeadlockDetected (40P01)"),
        (psycopg.errors.UniqueViolation("(email)=(ada@example.com)"), "UniqueViolation (23505)"),
        (psycopg.DataError("value ada"), "DataError"),
    ],
)
def test_only_messages_about_the_server_are_logged(error: Exception, text: str) -> None:
    assert describe_error(error) == text


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_sqlite_errors_are_classified_by_result_code(bound_database: peewee.Database, any_database_url: str) -> None:
    with pytest.raises(peewee.OperationalError) as wrong:
        database.execute_sql("SELECT nothing FROM nowhere")
    assert classify_error(wrong.value) is ErrorKind.BUG
    with sqlite3.connect(any_database_url.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        database.execute_sql("PRAGMA busy_timeout = 1")
        with pytest.raises(peewee.OperationalError) as busy, transaction():
            raise AssertionError("two writers at once")
        other.execute("ROLLBACK")
    other.close()
    assert (classify_error(busy.value), describe_error(busy.value)) == (ErrorKind.TEMPORARY, "OperationalError (SQLITE_BUSY)")


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_temporary_in_a_transaction(bound_database: peewee.Database, any_database_url: str) -> None:
    owner = factories.account()
    database.execute_sql("PRAGMA max_page_count = 1")  # becomes the current size
    with pytest.raises(peewee.OperationalError, match="disk is full") as full, transaction():
        Account.update(name="x" * 100_000).where(Account.id == owner.id).execute()
    assert (classify_error(full.value), describe_error(full.value)) == (ErrorKind.TEMPORARY, "OperationalError (SQLITE_FULL)")
    database.execute_sql("PRAGMA max_page_count = 1000000")
    with transaction():
        Account.update(name="enlarged").where(Account.id == owner.id).execute()
    assert Account.get().name == "enlarged"


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("action", ["ABORT", "ROLLBACK"])  # with the second, SQLite itself ends the transaction
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_a_failed_batch_is_rolled_back(bound_database: Any, any_database_url: str, action: str, durable: bool) -> None:
    owner = factories.account(100)

    def fail() -> None:
        with batch_transaction(durable=durable):
            database.execute_sql("UPDATE account SET held = 7")
            database.execute_sql(f"UPDATE OR {action} account SET email = NULL")

    with pytest.raises(peewee.IntegrityError):
        fail()
    assert Account.get_by_id(owner.id).held == 0
    assert database.execute_sql("PRAGMA synchronous").fetchone() == (2,)
    with batch_transaction(durable=durable):
        database.execute_sql("UPDATE account SET held = 8")
    assert not database.connection().in_transaction
    assert Account.get_by_id(owner.id).held == 8


@contextmanager
def locked(url: str, account: Account) -> Iterator[None]:
    """Another transaction locks the account row."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (account.id,))
        yield


@pytest.mark.parametrize("begin", [transaction, batch_transaction])
def test_errors_of_a_real_server(begin: Any, bound_postgres: Any, postgres: Postgres, postgres_url: str) -> None:
    owner = factories.account(100)

    def change(begin: Any) -> None:
        with begin():
            database.execute_sql("SET LOCAL lock_timeout = 50")
            database.execute_sql("UPDATE account SET held = held")

    bound_postgres.close()
    with ExitStack() as stack:
        target = stack.enter_context(opened_as(postgres.application(postgres_url)))
        cases = {
            "25006": postgres.read_only(),
            "42501": postgres.without_right(postgres_url, "UPDATE", "account"),
            "55P03": locked(postgres_url, owner),
        }
        for code, fault in cases.items():
            target.close_all()
            with fault, pytest.raises(peewee.PeeweeException) as refused:
                change(begin)
            assert (sqlstate(refused.value), is_temporary(refused.value)) == (code, True)
        change(begin)


@contextmanager
def opened_as(url: str) -> Iterator[Any]:
    target: Any = open_database(url)
    before = database.obj
    bind_database(target)
    yield target
    target.close_all()
    bind_database(before)


def test_a_missing_response_closes_the_connection(postgres_url: str) -> None:
    target: Any = open_database(postgres_url, statement_timeout_seconds=0.2)
    with pytest.raises(peewee.OperationalError, match=r"did not respond within 0\.2 s") as late:
        target.execute_sql("SELECT pg_sleep(60)")
    assert classify_error(late.value) is ErrorKind.TEMPORARY
    assert target.connection().closed
    target.manual_close()
    assert target.execute_sql("SELECT 1").fetchone() == (1,)
    target.close_all()


def test_prepared_statements_are_used_on_a_direct_connection_only(postgres_url: str, start_pgbouncer: Any) -> None:
    for url, threshold in ((postgres_url, 5), (start_pgbouncer().url(postgres_url), None)):
        target: Any = open_database(url)
        assert target.connection().prepare_threshold == threshold
        target.close_all()


def test_a_lost_prepared_statement_disables_them(bound_postgres: Any) -> None:
    assert database.connection().prepare_threshold is not None
    drop_connection(peewee.OperationalError(psycopg.errors.InvalidSqlStatementName("does not exist")))
    assert database.connection().prepare_threshold is None


def test_a_standby_makes_every_thread_reconnect(bound_postgres: Any) -> None:
    before = connection_generation()
    drop_connection(peewee.InternalError(psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE")))
    assert connection_generation() == before + 1
    drop_connection(peewee.OperationalError("lost"))
    assert connection_generation() == before + 1


def test_timeouts_end_with_their_transaction(bound_postgres: Any) -> None:
    for begin in (transaction, batch_transaction, lambda: snapshot(3)):
        with begin():
            database.execute_sql("SELECT 1")
        left = {name: database.execute_sql(f"SHOW {name}").fetchone()[0] for name in ("statement_timeout", "lock_timeout")}
        assert left == {"statement_timeout": "0", "lock_timeout": "0"}
        assert database.execute_sql("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("pooled", [False, True])
def test_locks_of_a_client_that_vanishes_mid_batch_are_released(
    pooled: bool, bound_postgres: Any, postgres_url: str, request: pytest.FixtureRequest
) -> None:
    """The server counts the time after a read as idle, and ends the transaction after a timeout."""
    owner = factories.account(100)
    url = request.getfixturevalue("start_pgbouncer")().url(postgres_url) if pooled else postgres_url
    with (
        opened_as(url),
        psycopg.connect(postgres_url, autocommit=True) as watcher,
        pytest.raises(peewee.PeeweeException) as ended,
    ):
        vanish_in_a_batch(owner, watcher)
    assert is_temporary(ended.value)
    assert Account.get_by_id(owner.id).held == 0


def vanish_in_a_batch(owner: Account, watcher: psycopg.Connection[Any]) -> None:
    with batch_transaction():
        database.execute_sql("SELECT set_config('idle_in_transaction_session_timeout', '1', true)")
        database.execute_sql(
            "SELECT set_config('transaction_timeout', '0', true)"
        )  # new in PostgreSQL 17; older versions have only the first
        assert list(database.execute_sql("SELECT id FROM account FOR UPDATE")) == [(owner.id,)]
        watcher.execute("SET lock_timeout = '20s'")
        try:
            watcher.execute("SELECT 1 FROM account FOR UPDATE")
        except psycopg.errors.LockNotAvailable as error:
            raise AssertionError("the lock is still held") from error
        database.execute_sql("UPDATE account SET held = 1")


def test_a_snapshot_is_consistent(bound_postgres: Any, postgres_url: str) -> None:
    def add() -> None:
        factories.account(100)
        database.close()

    with snapshot():
        assert Account.select().count() == 0
        other = threading.Thread(target=add)
        other.start()
        other.join()
        with snapshot():  # the snapshot of the enclosing block
            assert Account.select().count() == 0
    assert Account.select().count() == 1
