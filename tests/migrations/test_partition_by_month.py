"""Partitioning works on a full table while the last release serves calls, and leaves nothing behind if it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import peewee
import psycopg
import pytest
from playhouse.migrations import Runner

from shared.core import schema_version
from shared.core.clock import new_id, now_ms
from shared.core.database import database
from shared.core.schema_version import MIGRATIONS, migrate
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, UsageLedger
from tests import factories
from tests.databases import opened

NAME = "0031_partition_by_month"
# As release 0.5 writes a call of 1 credit: without `month`.
CALL = (
    "UPDATE account SET balance = balance - 1, ledger_seq = ledger_seq + 1 WHERE id = %(account)s",
    "INSERT INTO ledger_entry (account_id, seq, kind, amount, balance_after, call, actor, reason, created_at, plan_amount)"
    " SELECT id, ledger_seq, 'charge', -1, balance, %(call)s, 'edge', '', %(now)s, 0 FROM account WHERE id = %(account)s",
    "INSERT INTO usage_ledger (id, account_id, model, price, status, streamed, estimated, input_tokens, cached_tokens,"
    " output_tokens, reasoning_tokens, credits, overrun_credits, attempts, duration_ms, created_at)"
    " VALUES (%(call)s, %(account)s, 'm', %(call)s, 'completed', true, false, 1, 0, 1, 0, 1, 0, 1, 5, %(now)s)",
)


@pytest.fixture
def earlier(bound_postgres: peewee.Database) -> UUID:
    """An account in a database as release 0.5 left it."""
    account = factories.account(1_000_000).id
    Runner(bound_postgres, str(MIGRATIONS)).down(NAME)
    assert not is_partitioned()
    return account


def is_partitioned() -> bool:
    return bool(database.execute_sql("SELECT count(*) FROM pg_partitioned_table").fetchone()[0])


def write_call(connection: psycopg.Connection, account: UUID) -> None:
    values = {"account": account, "call": new_id(), "now": now_ms()}
    with connection.transaction():
        for statement in CALL:
            connection.execute(statement, values)


@contextmanager
def calls(url: str, account: UUID) -> Iterator[Callable[[], int]]:
    """Write calls all the time. `more()` waits for another one to be committed and returns their number."""
    written, changed, stopped = 0, threading.Condition(), threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        nonlocal written
        try:
            with psycopg.connect(url) as connection:
                connection.prepare_threshold = 0
                while not stopped.is_set():
                    write_call(connection, account)
                    with changed:
                        written += 1
                        changed.notify_all()
        except psycopg.Error as error:
            failures.append(error)

    def more() -> int:
        with changed:
            before = written
            assert changed.wait_for(lambda: written > before or failures, 30)
            assert failures == []
            return written

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield more
    finally:
        stopped.set()
        thread.join(30)
    assert failures == []


@pytest.mark.parametrize("pooled", [False, True])
def test_calls_are_written_meanwhile(pooled: bool, earlier: UUID, postgres_url: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("start_pgbouncer")(pool_size=3).url(postgres_url) if pooled else postgres_url
    with calls(postgres_url, earlier) as more, opened(url) as target:
        more()
        assert migrate(target)[0] == NAME
        assert is_partitioned()
        more()
    assert verify_ledger(now_ms()).problems == ()
    charged = 1_000_000 - Account.get_by_id(earlier).balance
    assert charged == UsageLedger.select().count() == LedgerEntry.select().where(LedgerEntry.kind == "charge").count() >= 2
    Runner(database.obj, str(MIGRATIONS)).down(NAME)
    assert not is_partitioned()
    migrate(database.obj)
    assert charged == UsageLedger.select().count()
    assert verify_ledger(now_ms()).problems == ()


def first_checks() -> int:
    return int(database.execute_sql("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%\\_first'").fetchone()[0])


def test_a_locked_table_is_waited_for_in_steps(
    earlier: UUID, bound_postgres: peewee.Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a backup reads the table, calls continue, and the migration is tried again."""
    monkeypatch.setattr(schema_version, "LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(schema_version, "LOCK_PAUSE_SECONDS", 0.05)
    with psycopg.connect(postgres_url) as reader:
        reader.execute("SELECT 1 FROM usage_ledger")
        monkeypatch.setattr(schema_version, "LOCK_SECONDS", 0.0)
        with pytest.raises(peewee.OperationalError, match="lock timeout"):
            migrate(bound_postgres)
        monkeypatch.setattr(schema_version, "LOCK_SECONDS", 60.0)
        release = threading.Timer(1.0, reader.rollback)
        with calls(postgres_url, earlier) as more:
            release.start()
            migrate(bound_postgres)
            more()
        release.join()
    assert is_partitioned()
    assert verify_ledger(now_ms()).problems == ()


def test_a_failure_removes_the_checks(
    earlier: UUID, bound_postgres: peewee.Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would refuse calls of later months."""
    monkeypatch.setattr(schema_version, "LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(schema_version, "LOCK_SECONDS", 0.0)
    seen = []

    def fail(self: Runner, name: str) -> list[str]:
        seen.append(first_checks())
        raise peewee.OperationalError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Runner, "up", fail)
        with pytest.raises(peewee.OperationalError, match="disk is full"):
            migrate(bound_postgres)
    assert seen == [2]
    assert first_checks() == 0
    assert migrate(bound_postgres)[0] == NAME
    assert first_checks() == 0
