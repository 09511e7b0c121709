"""Limits of members per month and day, whether they call with keys or sessions; keys per day; and members who may not call."""

from __future__ import annotations

import pytest

from shared import ledger
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.errors import AccessDenied, CreditsHeld, InsufficientCredits, InvalidApiKey
from shared.identity.payer import SessionPayer
from shared.ledger import Extension, HoldTaken, Reservation
from shared.models import Account, Allowance, ApiKey, Hold, Member, UsageLedger, WebSession
from shared.operations.key_changes import update_key
from shared.operations.keys import KeyOptions, create_key
from shared.operations.members import MemberTerms, add_member, change_member, remove_member, set_member_suspended
from shared.rollup import member_spending, read_breakdown, update_sums
from tests import factories
from tests.factories import ORIGIN
from tests.shared.ledger.test_ledger import HOLD_MS
from tests.shared.ledger.test_payers import amounts, assert_ledger_verifies, keyed, reserve, settle

pytestmark = pytest.mark.usefixtures("bound_database")
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def owner() -> Account:
    return factories.account(1_000)


def member_of(owner: Account, monthly: int | None = None, daily: int | None = None, role: str = "developer") -> Member:
    return add_member(owner.id, f"{new_id().hex}@example.com", MemberTerms(role, monthly, daily), origin=ORIGIN).member


def key_of(member: Member, **options: int) -> ApiKey:
    return create_key(member.account.id, "member's", KeyOptions(**options), member=member.id, origin=ORIGIN).row


def by_key(row: ApiKey, bound: int, minimum: int | None = None) -> Reservation:
    return keyed(row, bound, minimum)._replace(expires_at=now_ms() + HOLD_MS)


def by_session(member: Member, bound: int, minimum: int | None = None) -> Reservation:
    digest = f"{new_id().hex}{new_id().hex}"
    WebSession.create(digest=digest, account=member.account, member=member.id, expires_at=now_ms() + DAY_MS)
    any_key = ApiKey.select().first() or factories.api_key(member.account)[0]
    return by_key(any_key, bound, minimum)._replace(payer=SessionPayer(digest), account=member.account.id)


def spend(asked: Reservation, credits: int, at: int | None = None, key: ApiKey | None = None) -> None:
    now = at or now_ms()
    (taken,) = reserve(asked, now=now)
    assert isinstance(taken, HoldTaken), taken
    settle(asked, taken.account, credits, now, api_key=key.id if key else None, created_at=now)


def test_keys_and_sessions_of_a_member_share_the_limits(owner: Account) -> None:
    member, other = member_of(owner, monthly=100), member_of(owner, monthly=100)
    first, second = key_of(member), key_of(member)
    taken = reserve(
        by_key(first, 40),
        by_session(member, 40),
        by_key(second, 40, 20),
        by_key(first, 1),
        by_key(key_of(other), 90),
        now=now_ms(),
    )
    assert amounts(*taken) == [40, 40, 20, CreditsHeld, 90]
    assert_ledger_verifies(now_ms())


@pytest.mark.parametrize(("monthly", "daily", "period"), [(30, None, "month"), (None, 30, "day"), (50, 30, "day")])
def test_a_spent_limit_is_named_and_says_when_it_ends(
    owner: Account, monthly: int | None, daily: int | None, period: str
) -> None:
    member = member_of(owner, monthly, daily)
    key = key_of(member)
    spend(by_key(key, 30), 30, key=key)
    (refused,) = reserve(by_session(member, 10), now=now_ms())
    assert isinstance(refused, InsufficientCredits)
    assert f"Your limit in this account is 30 credits a {period}, of which 0 remain until 20" in str(refused)
    assert_ledger_verifies(now_ms())


def test_a_daily_limit_resets_and_the_monthly_one_does_not(owner: Account) -> None:
    member = member_of(owner, monthly=50, daily=30)
    key = key_of(member)
    today = 1_796_300_000_000  # in the middle of a month
    spend(by_key(key, 30), 30, today, key)
    asked = by_key(key, 30, 5)
    assert amounts(*reserve(asked, now=today)) == [InsufficientCredits]
    assert amounts(*reserve(asked, now=today + DAY_MS)) == [20]
    assert_ledger_verifies(now_ms())


def test_a_keys_daily_limit_also_counts_the_keys_that_it_created(owner: Account) -> None:
    parent, _ = factories.api_key(owner, daily_credit_limit=30, can_manage=True)
    child, _ = factories.api_key(owner, parent=parent.id, daily_credit_limit=30)
    assert amounts(*reserve(by_key(child, 20), by_key(parent, 20, 5), now=now_ms())) == [20, 10]
    spent, _ = factories.api_key(owner, daily_credit_limit=10)
    spend(by_key(spent, 10), 10, key=spent)
    (refused,) = reserve(by_key(spent, 10), now=now_ms())
    assert "The key's limit is 10 credits a day, of which 0 remain" in str(refused)
    assert_ledger_verifies(now_ms())


def test_a_charge_above_the_hold_stays_within_every_limit(owner: Account) -> None:
    member = member_of(owner, monthly=90, daily=60)
    key = key_of(member, monthly_credit_limit=80, daily_credit_limit=70)
    asked = by_key(key, 10)
    reserve(asked, now=now_ms())
    settled = settle(asked, owner.id, 75, now_ms(), api_key=key.id)
    assert (settled.credits, settled.uncharged_cost) == (60, 15)
    assert {row.name.partition("/")[0]: (row.used, row.held) for row in Allowance.select()} == dict.fromkeys(
        ("key", "keyday", "member", "memberday"), (60, 0)
    )
    assert_ledger_verifies(now_ms())


def test_a_hold_of_a_limited_member_grows_within_the_limit_and_expires_whole(owner: Account) -> None:
    member = member_of(owner, daily=30)
    asked, now = by_key(key_of(member), 10), now_ms()
    reserve(asked, now=now)
    with transaction():
        (extended,) = ledger.extend([Extension(asked.call, owner.id, 50)], now)
    assert extended.granted == 20
    assert ledger.sweep(now + 2 * HOLD_MS) == 1
    assert Allowance.get(Allowance.kind == "memberday").held == 0
    assert UsageLedger.get().member == member.id
    assert_ledger_verifies(now)


def test_a_limit_set_later_counts_what_was_spent_and_is_running(owner: Account) -> None:
    member = member_of(owner)
    key = key_of(member)
    spend(by_key(key, 20), 20, key=key)
    running = by_session(member, 30)
    reserve(running, now=now_ms())
    change_member(owner.id, member.id, MemberTerms("developer", 100, 60), origin=ORIGIN)
    update_key(key.id, {"daily_credit_limit": 45}, origin=ORIGIN)
    assert amounts(*reserve(by_session(member, 90, 5), now=now_ms())) == [10]
    assert settle(running, owner.id, 30, now_ms()).credits == 30
    assert_ledger_verifies(now_ms())


def test_a_member_who_may_not_call_is_refused_at_the_next_call(owner: Account) -> None:
    member = member_of(owner)
    key = key_of(member)
    running = by_key(key, 10)
    assert amounts(*reserve(running, now=now_ms())) == [10]
    change_member(owner.id, member.id, MemberTerms("viewer"), origin=ORIGIN)
    for asked in (by_key(key, 10), by_session(member, 10)):
        (refused,) = reserve(asked, now=now_ms())
        assert isinstance(refused, AccessDenied)
        assert refused.code == "role_not_allowed"
    change_member(owner.id, member.id, MemberTerms("developer"), origin=ORIGIN)
    set_member_suspended(owner.id, member.id, True, origin=ORIGIN)
    (refused,) = reserve(by_key(key, 10), now=now_ms())
    assert isinstance(refused, AccessDenied)
    assert refused.code == "member_suspended"
    with transaction():
        (extended,) = ledger.extend([Extension(running.call, owner.id, 50)], now_ms())
    assert extended.granted == 0
    remove_member(owner.id, member.id, origin=ORIGIN)
    assert amounts(*reserve(by_key(key, 10), now=now_ms())) == [InvalidApiKey]
    assert settle(running, owner.id, 10, now_ms(), api_key=key.id).credits == 10
    assert_ledger_verifies(now_ms())


def test_calls_of_the_first_owner_use_no_allowance(owner: Account) -> None:
    key, _ = factories.api_key(owner)
    asked = by_key(key, 10)
    reserve(asked, now=now_ms())
    hold = Hold.get()
    assert (hold.member, hold.more_allowances) == (None, None)
    settle(asked, owner.id, 10, now_ms(), api_key=key.id)
    assert UsageLedger.get().member is None
    assert not Allowance.select().exists()


def test_usage_by_member_includes_sessions_before_and_after_it_is_summed(owner: Account) -> None:
    member = member_of(owner)
    key, owners = key_of(member), factories.api_key(owner)[0]
    now = now_ms()
    yesterday = now - now % DAY_MS - DAY_MS + 1
    for at in (yesterday, now):
        spend(by_key(key, 10), 10, at, key)
        spend(by_session(member, 7), 7, at)
        spend(by_key(owners, 5), 5, at, owners)
    since, until = yesterday - 1, now - now % DAY_MS + DAY_MS
    for _ in range(2):
        by_member = read_breakdown(owner.id, since, until, "member")
        assert {id: sums.credits for id, sums in by_member.items()} == {owner.id: 10, member.id: 34}
        by_key_id = read_breakdown(owner.id, since, until, "key")
        assert {id: sums.credits for id, sums in by_key_id.items()} == {key.id: 20, owners.id: 10, None: 14}
        update_sums(now, 60)
    assert member_spending(owner.id, now, daily=True) == {member.id: 17, owner.id: 5}
