"""A purge refuses to replace entries that somebody has changed, and leaves everything as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import peewee
import pytest

from shared.core import signing
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import LedgerBroken
from shared.core.secret_key import SecretKey
from shared.ledger import seal
from shared.ledger.compaction import compact_ledger, merge_oldest_entries
from shared.ledger.merkle import leaf_hash, root_of
from shared.ledger.verify import verify_ledger
from shared.ledger.witness import NO_HEAD, hash_entry
from shared.models import Account, LedgerEntry, LedgerLeaf, LedgerSeal, PurgeJob, UsageLedger
from tests.databases import allow_tampering
from tests.shared.ledger.test_seal import SECRET, check, dump, seal_now
from tests.shared.ledger.test_witness import whole
from tests.workers.holds import HOUR_MS, Customer

OTHER = "another secret key of 32 characters"
Change = Callable[[Customer], None]


@pytest.fixture
def customer(bound_database: peewee.Database) -> Customer:
    """A customer that is being purged, with a grant, entry 1, and three calls, entries 2 to 4. Entries 1 to 3 are sealed."""
    found = Customer(1_000)
    charge(found, 2)
    seal_now()
    charge(found, 1)
    PurgeJob.create(account=found.account, boundary=0)
    return found


def charge(customer: Customer, calls: int) -> None:
    for call in customer.hold(calls, lasts_ms=HOUR_MS):
        customer.settle(call, 10)


def fold(customer: Customer, batch: int = 1_000, secret_key: str = SECRET) -> int:
    with transaction():
        return merge_oldest_entries(customer.account, now_ms(), secret_key, batch).entries


def compact(customer: Customer) -> None:
    with transaction():
        compact_ledger(customer.account, now_ms(), SECRET)


def change_entry(customer: Customer, seq: int, **values: Any) -> None:
    LedgerEntry.update(**values).where((LedgerEntry.account == customer.account) & (LedgerEntry.seq == seq)).execute()


def rehash(customer: Customer) -> None:
    """Compute all hashes of the account again."""
    head = NO_HEAD
    for row in LedgerEntry.select().where(LedgerEntry.account == customer.account).order_by(LedgerEntry.seq):
        amounts = row.amount, row.balance_after, row.plan_amount
        head = hash_entry(head, customer.account, row.seq, row.kind, amounts, row.created_at, whole(row.commitment))
        change_entry(customer, row.seq, entry_hash=head)
    Account.update(ledger_head=head).where(Account.id == customer.account).execute()


def change_time(customer: Customer) -> None:
    change_entry(customer, 2, created_at=1)


def rewrite(customer: Customer) -> None:
    """Make 500 credits of nothing, with all hashes after it."""
    for row in LedgerEntry.select().where(LedgerEntry.account == customer.account):
        amount = row.amount + 500 if row.seq == 1 else row.amount
        change_entry(customer, row.seq, amount=amount, balance_after=row.balance_after + 500)
    Account.update(balance=Account.balance + 500).where(Account.id == customer.account).execute()
    rehash(customer)


def rewrite_with_leaf(customer: Customer) -> None:
    rewrite(customer)
    entries = list(LedgerEntry.select().where(LedgerEntry.account == customer.account).order_by(LedgerEntry.seq).limit(3))
    root = root_of(leaf_hash(whole(entry.entry_hash)) for entry in entries)
    LedgerLeaf.update(head=whole(entries[-1].entry_hash), root=root).execute()


def rewrite_with_seal(customer: Customer, signer: str | None = None) -> None:
    """The seal leads to the changed entries, with the old signature or that of a key that was added."""
    rewrite_with_leaf(customer)
    root = root_of(leaf.hash for leaf in seal.read_leaves(1))
    document = json.loads(LedgerSeal.get().document)
    document["head"]["root"] = root_of([root]).hex()
    values: dict[str, Any] = {"chunks": root}
    if signer is not None:
        key = signing.public_key(signer, signing.LEDGER_HEADS)
        document |= {"signature": signing.sign(document["head"], signer, signing.LEDGER_HEADS), "key_id": signing.key_id(key)}
        values["public_key"] = signing.public_pem(key).decode()
    LedgerSeal.update(document=json.dumps(document), **values).execute()


def rows() -> list[str]:
    tables: tuple[Any, ...] = (LedgerEntry, UsageLedger, Account)
    return sorted(repr(row) for table in tables for row in table.select().tuples())


def change_details(_: Customer) -> None:
    UsageLedger.update(model="cheap").execute()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_time, "entry 2: its hash does not follow"),
        (change_details, "entry 2: its details are not those that it commits to"),
        (lambda customer: change_entry(customer, 3, entry_hash=None), "entry 4: its hash does not follow"),
        (rewrite, "entries 1 to 3: not those in seal 1"),
        (rewrite_with_leaf, "entries 1 to 3: not those in seal 1"),
        (rewrite_with_seal, "entries 1 to 3: seal 1 has no valid signature by a key of this installation"),
        (
            lambda customer: rewrite_with_seal(customer, OTHER),
            "entries 1 to 3: seal 1 has no valid signature by a key of this installation",
        ),
        (lambda _: Account.update(balance=2_000).execute(), "balance is 2000, but its rows add up to 970"),
    ],
)
def test_changed_entries_are_not_replaced(bound_database: peewee.Database, customer: Customer, change: Change, said: str) -> None:
    allow_tampering(bound_database)
    change(customer)
    before = rows()
    for step in (fold, compact):
        with pytest.raises(LedgerBroken, match=f"account {customer.account}.*{said}"):
            step(customer)
    assert rows() == before


def test_a_changed_opening_entry_is_not_replaced(bound_database: peewee.Database, customer: Customer) -> None:
    """Its hash follows, but an earlier step signed another balance."""
    assert fold(customer, 2) == 3
    allow_tampering(bound_database)
    for row in LedgerEntry.select():
        change_entry(customer, row.seq, balance_after=row.balance_after + 7)
    change_entry(customer, 3, amount=987)
    Account.update(balance=977).execute()
    [opening, last] = LedgerEntry.select().order_by(LedgerEntry.seq)
    head = whole(customer.account_row().ledger_origin)
    for row in (opening, last):
        amounts = row.amount, row.balance_after, row.plan_amount
        hashed = hash_entry(head, customer.account, row.seq, row.kind, amounts, row.created_at, whole(row.commitment))
        change_entry(customer, row.seq, entry_hash=hashed)
    Account.update(ledger_head=hashed).execute()
    for step in (fold, compact):
        with pytest.raises(LedgerBroken, match="the signature of its purge does not match what the purge left"):
            step(customer)


def test_a_leaf_is_replaced_at_once_and_later_ones_are_still_required(customer: Customer) -> None:
    for _ in range(2):
        seal_now()
        charge(customer, 3)
    assert check(dump()) == []
    folded = [fold(customer, 2)]
    signed = [json.loads(customer.account_row().ledger_origin_signature)["leaves"]]
    while count := fold(customer, 2):
        folded.append(count)
        signed.append(json.loads(customer.account_row().ledger_origin_signature)["leaves"])
        assert check(dump()) == []
        assert verify_ledger(now_ms(), SECRET).problems == ()
    assert (folded, signed) == ([3, 1, 3, 1, 1, 1], [1, 2, 3, 3, 3, 3])
    compact(customer)
    charge(customer, 1)
    seal_now()
    charge(customer, 2)
    compact(customer)
    assert check(dump()) == []


def test_entries_that_a_former_key_sealed_are_replaced(customer: Customer) -> None:
    """Also when the former key can no longer decrypt: the present one has signed a later seal."""
    changed = SecretKey(OTHER, fallback=SECRET)
    assert fold(customer, 2, changed) == 3
    seal.seal_ledger(now_ms(), changed, "https://edge.example")
    charge(customer, 2)
    assert fold(customer, secret_key=SecretKey(OTHER)) == 3


def test_a_seal_without_a_known_key_is_not_trusted(customer: Customer) -> None:
    with pytest.raises(LedgerBroken, match="seal 1 has no valid signature by a key of this installation"):
        fold(customer, secret_key=OTHER)
