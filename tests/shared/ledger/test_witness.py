"""The database refuses to change or delete ledger entries, and a purge leaves the chain of hashes whole."""

from __future__ import annotations

import peewee
import pytest

from shared import ledger
from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.ledger import retention
from shared.ledger.compaction import compact_ledger
from shared.ledger.verify import verify_ledger
from shared.ledger.witness import NO_HEAD, commit, entry_details, hash_entry
from shared.models import Account, LedgerEntry, PurgeJob, UsageLedger
from tests.servers.edge import SECRET_KEY
from tests.workers.holds import HOUR_MS, Customer


@pytest.fixture
def customer(bound_database: peewee.Database) -> Customer:
    """A customer with a grant, entry 1, and a charge, entry 2."""
    found = Customer(1_000)
    [call] = found.hold(lasts_ms=HOUR_MS)
    found.settle(call, 10)
    return found


def whole(value: bytes | None) -> bytes:
    """A column that must have a value."""
    assert value is not None
    return bytes(value)


def head_of(customer: Customer) -> bytes:
    return whole(customer.account_row().ledger_head)


TAMPERING = (
    "UPDATE ledger_entry SET amount = amount - 1, balance_after = balance_after - 1",
    "UPDATE ledger_entry SET reason = 'another'",
    "UPDATE ledger_entry SET entry_hash = commitment",
    "UPDATE ledger_entry SET call = NULL, salt = NULL, commitment = salt",
    "UPDATE ledger_entry SET salt = commitment",
    "DELETE FROM ledger_entry",
    "DELETE FROM ledger_entry WHERE seq = 2",
)


def test_the_database_keeps_entries(bound_database: peewee.Database, customer: Customer) -> None:
    before = list(LedgerEntry.select().order_by(LedgerEntry.seq).dicts())
    for statement in TAMPERING if is_sqlite() else (*TAMPERING, "TRUNCATE ledger_entry"):
        with pytest.raises(peewee.IntegrityError, match="cannot be changed"), bound_database.atomic():
            bound_database.execute_sql(statement)
    assert list(LedgerEntry.select().order_by(LedgerEntry.seq).dicts()) == before


def test_an_entry_commits_to_its_call(customer: Customer) -> None:
    first, second = LedgerEntry.select().order_by(LedgerEntry.seq)
    call = UsageLedger.get()
    usage = [
        *("m-1", call.price, "completed", *[0] * 5, False, None, 10, 0, 0, call.created_at, None),
    ]
    commitment = commit(whole(second.salt), entry_details("edge", "", call.id, usage))
    amounts = (-10, 990, 0)
    assert commitment == whole(second.commitment)
    chained = hash_entry(whole(first.entry_hash), customer.account, 2, "charge", amounts, second.created_at, commitment)
    assert chained == head_of(customer)


def test_the_last_release_erases_a_call_with_its_salt(bound_database: peewee.Database, customer: Customer) -> None:
    """The last release has no salts, so the trigger deletes the salt: a guess of the call could be tested with it."""
    bound_database.execute_sql("UPDATE ledger_entry SET call = NULL")
    assert [entry.salt is None for entry in LedgerEntry.select().order_by(LedgerEntry.seq)] == [False, True]
    assert verify_ledger(now_ms()).problems == ()


def test_the_chain_continues_over_entries_without_a_hash(bound_database: peewee.Database, customer: Customer) -> None:
    """The last release writes them while it runs alongside this one. The next hash covers their number and balance."""
    head = head_of(customer)
    with transaction():
        for seq, amount, balance in ((3, 5, 995), (4, -15, 980)):
            LedgerEntry.create(account=customer.account, seq=seq, kind="adjustment", amount=amount, balance_after=balance)
        Account.update(balance=980, ledger_seq=4).where(Account.id == customer.account).execute()
    assert head_of(customer) == head
    assert verify_ledger(now_ms()).unwitnessed == 2
    with transaction():
        entry = ledger.post_entry(customer.account, "grant", 20, actor="test", reason="")
    assert entry.seq == 5
    assert head_of(customer) == whole(entry.entry_hash)
    assert verify_ledger(now_ms()).problems == ()


@pytest.mark.parametrize("spent", [0, 990])
def test_a_purge_leaves_the_head_that_it_replaces(customer: Customer, spent: int) -> None:
    """Also if nothing is left, and so no opening entry."""
    if spent:
        with transaction():
            ledger.post_entry(customer.account, "adjustment", -spent, actor="test", reason="")
    head = head_of(customer)
    PurgeJob.create(account=customer.account, boundary=0)
    with transaction():
        compact_ledger(customer.account, now_ms(), SECRET_KEY)
    assert whole(customer.account_row().ledger_origin) == head
    with transaction():
        ledger.post_entry(customer.account, "grant", 5, actor="test", reason="")
    entries = list(LedgerEntry.select().order_by(LedgerEntry.seq))
    assert len(entries) == (1 if spent else 2)
    assert head_of(customer) == whole(entries[-1].entry_hash) != NO_HEAD
    assert verify_ledger(now_ms()).problems == ()
    Account.update(ledger_origin=None).where(Account.id == customer.account).execute()
    assert "entry 1: its hash does not follow" in verify_ledger(now_ms()).problems[0]


def test_usage_retention_keeps_the_chain(customer: Customer) -> None:
    head = head_of(customer)
    with transaction():
        retention.delete_calls(customer.account, [UsageLedger.get().id])
    assert LedgerEntry.get(LedgerEntry.seq == 2).salt is None
    assert head_of(customer) == head
    assert verify_ledger(now_ms()).problems == ()
