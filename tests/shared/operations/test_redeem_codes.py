"""Redeem codes: created, redeemed once, voided, expired, and accepted in any notation."""

from __future__ import annotations

import re

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.clock import new_id, now_ms
from shared.core.database import drop_connection
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.verify import verify_ledger
from shared.models import Account, AuditEntry, CodeBatch, LedgerEntry, Payment, RedeemCode
from shared.operations.accounts import set_account_status
from shared.operations.redeem_codes import create_codes, list_batches, redeem, void_codes
from shared.payments.redeem_codes import ALPHABET, digest, new_code
from tests import factories
from tests.factories import ORIGIN
from tests.shared.ledger.test_ledger import in_threads


def codes(credits: int = 500, count: int = 1, **options: object) -> tuple[str, ...]:
    return create_codes(credits, count, origin=ORIGIN, **options).codes  # type: ignore[arg-type]  # options of several types


def test_a_code_grants_its_credits_once(bound_database: peewee.Database) -> None:
    owner, thief = factories.account(100), factories.account(0)
    (code,) = codes()
    assert redeem(owner.id, code, origin=ORIGIN).balance == 600
    with pytest.raises(InvalidInput, match="You have already redeemed this code"):
        redeem(owner.id, code, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="unknown, has been used, or has expired"):
        redeem(thief.id, code, origin=ORIGIN)
    entry = LedgerEntry.get((LedgerEntry.account == owner) & (LedgerEntry.kind == "purchase"))
    assert (entry.amount, entry.plan_amount, entry.reason) == (500, 0, f"code {code[:10]}…")
    assert Payment.select().count() == 1
    assert (Account.get_by_id(owner.id).balance, Account.get_by_id(thief.id).balance) == (600, 0)
    assert verify_ledger(now_ms()).problems == ()


def test_only_digests_are_stored(bound_database: peewee.Database) -> None:
    owner = factories.account(0)
    (code,) = codes(note="spring")
    redeem(owner.id, code, origin=ORIGIN)
    secret = code[11:]
    tables = (CodeBatch, RedeemCode, Payment, LedgerEntry, AuditEntry)
    assert not any(secret in str(row.__data__) for table in tables for row in table.select())


def test_void_and_expired_codes(bound_database: peewee.Database) -> None:
    owner = factories.account(0)
    batch = create_codes(10, 3, origin=ORIGIN)
    redeem(owner.id, batch.codes[0], origin=ORIGIN)
    single = RedeemCode.get(RedeemCode.digest == digest(batch.codes[1]))
    assert [void_codes(single.id, origin=ORIGIN), void_codes(batch.row.id, origin=ORIGIN)] == [1, 1]
    assert void_codes(str(batch.row.id), origin=ORIGIN) == 0
    expired = create_codes(10, expires_at=now_ms() + 10_000, origin=ORIGIN)
    CodeBatch.update(expires_at=now_ms()).where(CodeBatch.id == expired.row.id).execute()
    for code in (*batch.codes[1:], *expired.codes, "YOUT-00000-00000-00000-00000", "", "é"):
        with pytest.raises(InvalidInput, match="unknown, has been used, or has expired"):
            redeem(owner.id, code, origin=ORIGIN)
    standings = [(one.redeemed, one.voided, one.open) for one in list_batches()]
    assert standings == [(0, 0, 0), (1, 2, 0)]
    assert Account.get_by_id(owner.id).balance == 10


@pytest.mark.parametrize("id", ["nonsense", "01a20dfd-891d-7571-9714-5461e433a52d"])
def test_an_unknown_batch_cannot_be_voided(bound_database: peewee.Database, id: str) -> None:
    with pytest.raises(NotFound):
        void_codes(id, origin=ORIGIN)


def test_who_cannot_redeem(bound_database: peewee.Database) -> None:
    owner = factories.account(0)
    (code,) = codes()
    set_account_status(owner.id, "suspended", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="suspended"):
        redeem(owner.id, code, origin=ORIGIN)
    with pytest.raises(NotFound):
        redeem(new_id(), code, origin=ORIGIN)
    set_account_status(owner.id, "active", origin=ORIGIN)
    assert redeem(owner.id, code, origin=ORIGIN).balance == 500


@pytest.mark.parametrize(
    ("credits", "count", "expires_at"), [(0, 1, None), (1, 0, None), (1, 10_001, None), (-5, 1, None), (1, 1, 5)]
)
def test_invalid_batches(bound_database: peewee.Database, credits: int, count: int, expires_at: int | None) -> None:
    with pytest.raises(InvalidInput):
        create_codes(credits, count, expires_at=expires_at, origin=ORIGIN)
    assert not CodeBatch.select().exists()


_MISREAD = {"0": "0Oo", "1": "1IiLl"}
typed_letters = st.sampled_from(ALPHABET).flatmap(
    lambda letter: st.tuples(st.just(letter), st.sampled_from(_MISREAD.get(letter, letter + letter.lower())))
)


@given(letters=st.lists(typed_letters, min_size=20, max_size=20), between=st.sampled_from(["-", "", " "]), marked=st.booleans())
def test_a_code_is_accepted_in_any_notation(letters: list[tuple[str, str]], between: str, marked: bool) -> None:
    code, typed = ("".join(pair[place] for pair in letters) for place in (0, 1))
    written = "-".join(["YOUT", *(code[start : start + 5] for start in range(0, 20, 5))])
    groups = [*(["y0ut"] if marked else []), *(typed[start : start + 5] for start in range(0, 20, 5))]
    assert digest(f" {between.join(groups)}\n") == digest(written)


def test_codes_are_unique() -> None:
    made = [new_code() for _ in range(50)]
    assert len({code.digest for code in made}) == 50
    assert all(re.fullmatch(r"YOUT(-[0-9A-HJKMNP-TV-Z]{5}){4}", code.text) for code in made)
    assert all(code.prefix == code.text[:10] + "…" for code in made)


def test_concurrent_redemptions_of_one_code(bound_postgres: peewee.Database) -> None:
    owners = [factories.account(0) for _ in range(3)]
    shared = codes(count=5)
    done: list[str] = []

    def work(index: int) -> None:
        for code in shared:
            try:
                redeem(owners[index % 3].id, code, origin=ORIGIN)
            except InvalidInput:
                continue
            done.append(code)
        drop_connection()

    in_threads(work, 6)
    assert sorted(done) == sorted(shared)
    assert sum(row.balance for row in Account.select()) == 5 * 500
    assert verify_ledger(now_ms()).problems == ()
