"""Accounts and manual credit changes: every change is in the ledger and in the audit trail."""

from __future__ import annotations

import pytest

from shared.core.errors import InvalidInput, NotFound
from shared.models import Account, AuditEntry, LedgerEntry
from shared.operations.accounts import adjust_credits, create_account, find_account, set_account_status
from shared.operations.audit import Origin

pytestmark = pytest.mark.usefixtures("bound_database")
ACTOR = "operator:test"
ORIGIN = Origin(ACTOR)
UNKNOWN = "01890000-0000-7000-8000-000000000000"


def test_opening_credits_are_a_grant() -> None:
    account = create_account("  Ada@Example.COM ", 500, origin=ORIGIN)
    assert (account.email, account.balance) == ("ada@example.com", 500)
    [entry] = LedgerEntry.select()
    assert (entry.kind, entry.amount, entry.actor) == ("grant", 500, ACTOR)
    [trail] = AuditEntry.select()
    assert (trail.actor, trail.action, trail.target) == (ACTOR, "account.create", str(account.id))
    assert trail.after == {"email": "ada@example.com", "credits": 500}


def test_an_account_is_found_by_email_and_by_id() -> None:
    account = create_account("ada@example.com", origin=ORIGIN)
    assert find_account("ADA@example.com").id == find_account(account.id).id == find_account(str(account.id)).id


def test_a_taken_email_is_rejected_without_side_effects() -> None:
    create_account("ada@example.com", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="already exists"):
        create_account("Ada@example.com", 500, origin=ORIGIN)
    assert Account.select().count() == 1
    assert LedgerEntry.select().count() == 0
    assert AuditEntry.select().count() == 1


@pytest.mark.parametrize("email", ["", "ada", "ada@", "@example.com", "a b@example.com", "a@b@c", "a\n@b.c", "a" * 251 + "@b.c"])
def test_an_invalid_email_is_rejected(email: str) -> None:
    with pytest.raises(InvalidInput, match="email"):
        create_account(email, origin=ORIGIN)


@pytest.mark.parametrize("credits", [-1, 10**15 + 1, 1.5, True])
def test_opening_credits_must_be_a_whole_number(credits: int) -> None:
    with pytest.raises(InvalidInput, match="credits"):
        create_account("ada@example.com", credits, origin=ORIGIN)
    assert Account.select().count() == 0


def test_credits_are_granted_and_deducted() -> None:
    create_account("ada@example.com", 100, origin=ORIGIN)
    given = adjust_credits("ada@example.com", 50, "promised", origin=Origin(ACTOR, "192.0.2.1"))
    taken = adjust_credits(given.account.id, -150, "given in error", origin=ORIGIN)
    assert (given.entry.kind, given.account.balance) == ("grant", 150)
    assert (taken.entry.kind, taken.entry.seq, taken.account.balance) == ("adjustment", 3, 0)
    trail = AuditEntry.get(AuditEntry.action == "credits.grant")
    assert (trail.before, trail.address) == ({"balance": 100}, "192.0.2.1")
    assert trail.after == {"balance": 150, "amount": 50, "reason": "promised", "seq": 2}


@pytest.mark.parametrize(("credits", "reason"), [(0, "nothing"), (-101, "too much"), (10**16, "slip"), (5, " "), (5, "x" * 501)])
def test_an_impossible_adjustment_is_rejected_without_side_effects(credits: int, reason: str) -> None:
    create_account("ada@example.com", 100, origin=ORIGIN)
    with pytest.raises(InvalidInput):
        adjust_credits("ada@example.com", credits, reason, origin=ORIGIN)
    assert find_account("ada@example.com").balance == 100
    assert AuditEntry.select().where(AuditEntry.action != "account.create").count() == 0


@pytest.mark.parametrize("who", ["nobody@example.com", "nobody", UNKNOWN])
def test_an_unknown_account_is_not_found(who: str) -> None:
    with pytest.raises(NotFound, match=r"No account|is not an email"):
        adjust_credits(who, 5, "test", origin=ORIGIN)


def test_an_account_is_suspended_and_reinstated() -> None:
    create_account("ada@example.com", origin=ORIGIN)
    for status in ("suspended", "suspended", "active"):
        assert set_account_status("ada@example.com", status, origin=ORIGIN).status == status
    changes = [row.after["status"] for row in AuditEntry.select().where(AuditEntry.action == "account.status")]
    assert sorted(changes) == ["active", "suspended"]


def test_a_closed_account_stays_closed() -> None:
    account = create_account("ada@example.com", origin=ORIGIN)
    Account.update(status="closed").where(Account.id == account.id).execute()
    with pytest.raises(InvalidInput, match="closed permanently"):
        set_account_status("ada@example.com", "active", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="active or suspended"):
        set_account_status("ada@example.com", "closed", origin=ORIGIN)
