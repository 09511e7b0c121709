"""A purge signs what it left of an account's ledger. What only a writer to the database could have left is found."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import peewee
import pytest

from shared import ledger
from shared.core import signing
from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.core.secret_key import SecretKey
from shared.ledger import fold_check, seal
from shared.ledger.compaction import compact_ledger, merge_oldest_entries
from shared.ledger.dump_check import DumpCheck
from shared.ledger.origins import block_purges
from shared.ledger.purge_signature import Opening, PurgeState, sign_purge
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, LedgerSeal, PurgeJob
from tests.databases import allow_tampering
from tests.servers.process import eventually
from tests.shared.ledger.test_seal import SECRET, dump, run_program, seal_now
from tests.shared.ledger.test_witness import whole
from tests.threads import join
from tests.workers.holds import HOUR_MS, Customer

OTHER = "another secret key of 32 characters"
COLUMNS = (Account.balance, Account.plan_credits, Account.ledger_seq, Account.ledger_head)
SIGNED = (Account.ledger_origin, Account.ledger_origin_signature)
Run = Callable[[bytes], str]


@pytest.fixture
def customer(bound_database: peewee.Database) -> Customer:
    """A customer with a grant, entry 1, and a charge, entry 2."""
    found = Customer(1_000)
    [call] = found.hold(lasts_ms=HOUR_MS)
    found.settle(call, 10)
    return found


@pytest.fixture
def program(tmp_path: Any) -> Run:
    return lambda data: run_program(tmp_path, data)


def grant(customer: Customer, amount: int = 5) -> None:
    with transaction():
        ledger.post_entry(customer.account, "grant", amount, actor="test", reason="")


def purge(customer: Customer, secret_key: str = SECRET) -> None:
    PurgeJob.create(account=customer.account, boundary=0)
    with transaction():
        compact_ledger(customer.account, now_ms(), secret_key)
    PurgeJob.update(status="done").execute()


def imitate_purge(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a purge does without SECRET_KEY, and without its checks."""
    with monkeypatch.context() as patched:
        patched.setattr(fold_check, "_require", lambda _problems: None)
        purge(customer, OTHER)


def forget_signatures() -> None:
    """Leave what an older release's purge leaves."""
    Account.update(ledger_origin_signature=None).execute()


def problems(heads: dict[str, Any] | None = None, secret_key: str = SECRET) -> tuple[list[str], tuple[str, ...]]:
    """What is wrong offline and online."""
    return list(DumpCheck(heads).run(io.BytesIO(dump(secret_key)))), verify_ledger(now_ms(), secret_key).problems


def require_problem(customer: Customer, said: str, program: Run) -> None:
    """Both checks and the program in the documents name the account and what is wrong."""
    offline, online = problems()
    line = f"account {customer.account}: {said}"
    assert any(line in problem for problem in offline), offline
    assert any(line in problem for problem in online), online
    assert f"account {customer.account}" in program(dump())


def signature_of(customer: Customer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(customer.account_row().ledger_origin_signature)
    return found


def replace_signature(customer: Customer, **changes: Any) -> None:
    text = json.dumps({**signature_of(customer), **changes})
    Account.update(ledger_origin_signature=text).where(Account.id == customer.account).execute()


@pytest.mark.parametrize("spent", [0, 990])
def test_every_step_of_a_purge_is_signed(customer: Customer, program: Run, spent: int) -> None:
    grant(customer, 7)
    seal_now()
    if spent:
        with transaction():
            ledger.post_entry(customer.account, "adjustment", -997, actor="test", reason="")
    PurgeJob.create(account=customer.account, boundary=0)
    with transaction():
        merge_oldest_entries(customer.account, now_ms(), SECRET, 2)
    assert problems() == ([], ())
    assert signature_of(customer)["leaves"] == 1
    with transaction():
        compact_ledger(customer.account, now_ms(), SECRET)
    assert problems() == ([], ())
    grant(customer)
    seal_now()
    assert problems(seal.published(seal.read_documents(), seal.public_keys(SECRET))) == ([], ())
    assert "everything adds up" in program(dump())


def test_every_changed_byte_of_a_signature_is_found(customer: Customer, program: Run) -> None:
    purge(customer)
    seal_now()
    good = signature_of(customer)
    for field in ("signature", "key_id"):
        for place in range(len(good[field])):
            changed = bytearray(good[field].encode())
            changed[place] ^= 1
            replace_signature(customer, **{**good, field: changed.decode()})
            assert [line.split(": ")[0] for line in problems()[0]] == [f"account {customer.account}"], place
    for field, value in (("leaves", 7), ("seal", 7)):
        replace_signature(customer, **{**good, field: value})
        require_problem(customer, "the signature of its purge does not match", program)
    replace_signature(customer, **{**good, "signature": None})
    require_problem(customer, "the signature of its purge", program)
    Account.update(ledger_origin_signature="{").execute()
    require_problem(customer, "the signature of its purge is malformed", program)


def test_a_purge_cannot_be_imitated(
    bound_database: peewee.Database, customer: Customer, program: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forged opening entry has valid hashes and sums, and follows the last sealed entry."""
    seal_now()
    allow_tampering(bound_database)
    imitate_purge(customer, monkeypatch)
    require_problem(customer, "the signature of its purge is from the unknown key", program)
    key_id = signing.key_id(signing.public_key(SECRET, signing.LEDGER_HEADS))
    replace_signature(customer, key_id=key_id)
    require_problem(customer, "the signature of its purge does not match", program)
    forget_signatures()
    require_problem(customer, "no signature proves that a purge replaced its oldest entries", program)
    seal_now()  # signs older purges only if it is the first
    require_problem(customer, "no signature proves that a purge replaced its oldest entries", program)


def test_what_a_purge_left_cannot_be_changed(
    bound_database: peewee.Database, customer: Customer, program: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another balance in the opening entry, and all hashes after it recomputed."""
    purge(customer)
    seal_now()
    signed = customer.account_row()
    allow_tampering(bound_database)
    LedgerEntry.delete().execute()
    Account.update(balance=0, ledger_seq=0, ledger_head=signed.ledger_origin).execute()
    grant(customer, 1_000_000)
    imitate_purge(customer, monkeypatch)
    Account.update({column: getattr(signed, column.name) for column in SIGNED}).execute()
    require_problem(customer, "the signature of its purge does not match", program)


def test_an_account_cannot_be_set_back_to_an_earlier_purge(
    bound_database: peewee.Database, customer: Customer, program: Run
) -> None:
    purge(customer)
    earlier, [opening] = customer.account_row(), list(LedgerEntry.select().dicts())
    grant(customer, 500)
    seal_now()
    assert problems() == ([], ())
    allow_tampering(bound_database)
    LedgerEntry.delete().where(LedgerEntry.seq > opening["seq"]).execute()
    Account.update({column: getattr(earlier, column.name) for column in (*COLUMNS, *SIGNED)}).execute()
    assert problems()[0] == [f"account {customer.account}, entries 1 to 2: not those in seal 1"]
    assert "sealed entries are missing" in program(dump())


def test_the_first_seal_signs_the_purges_of_older_releases(customer: Customer, program: Run) -> None:
    """Seals of older releases do not, and later ones do not repeat it."""
    seal_now()
    purge(customer)
    forget_signatures()
    key_id = signing.key_id(signing.public_key(SECRET, signing.LEDGER_HEADS))
    [(document, _)] = seal.read_documents()
    del document["head"]["purges_signed"]
    document["signature"] = signing.sign(document["head"], SECRET, signing.LEDGER_HEADS)
    LedgerSeal.update(document=json.dumps(document)).execute()
    assert problems() == ([], ())
    assert "everything adds up" in program(dump())
    check = DumpCheck()
    assert list(check.run(io.BytesIO(dump()))) == []
    assert check.counts["unsigned"] == 1

    seal_now()
    assert problems() == ([], ())
    assert signature_of(customer) == {**signature_of(customer), "leaves": 1, "seal": 2, "key_id": key_id}
    grant(customer)
    seal_now()
    assert problems() == ([], ())
    assert "everything adds up" in program(dump())
    state = PurgeState(customer.account, whole(customer.account_row().ledger_origin), Opening(1, 990, 0))
    Account.update(ledger_origin_signature=sign_purge(state, 1, SECRET, seal=3)).execute()
    require_problem(customer, "its purge was signed with seal 3, but only seal 2 signed older purges", program)


def test_a_purge_stays_valid_when_the_secret_key_changes(customer: Customer, program: Run) -> None:
    """Also before the next seal publishes the new key, and if no seal has published the former one."""
    purge(customer)
    changed = SecretKey(OTHER, fallback=SECRET)
    assert problems(secret_key=changed) == ([], ())
    seal_now()
    other = Customer(100)
    purge(other, changed)
    assert signature_of(other)["key_id"] != signature_of(customer)["key_id"]
    assert problems(seal.published(seal.read_documents(), seal.public_keys(changed)), OTHER) == ([], ())
    old = seal.published(seal.read_documents(), seal.public_keys(SECRET))
    [unknown] = problems(old, OTHER)[0]
    assert unknown.startswith(f"account {other.account}: the signature of its purge is from the unknown key")


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_purge_counts_the_leaf_that_a_seal_is_adding(customer: Customer) -> None:
    """Otherwise the leaf would cover entries that the purge replaces, without being explained by it."""

    def work() -> None:
        with database.connection_context():
            purge(customer)

    thread = threading.Thread(target=work, daemon=True)
    with transaction():
        block_purges()
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        eventually(lambda: database.execute_sql(waiting).fetchone() == (1,), "the purge waits")
        seal._begin(now_ms())
        assert seal._add_leaves(1, seal._read_accounts(UUID(int=0)))
    join(thread)
    assert signature_of(customer)["leaves"] == 1
    seal_now()
    assert problems() == ([], ())
