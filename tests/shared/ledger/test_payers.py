"""Payers other than a plain key: web sessions, visitors, and keys with a monthly limit."""

from __future__ import annotations

import threading
from typing import Any

import peewee
import pytest

from shared import ledger
from shared.billing.token_usage import TokenUsage
from shared.core.billing_periods import DAY_MS, day_of, next_day_start
from shared.core.clock import new_id, now_ms
from shared.core.database import drop_connection, transaction
from shared.core.errors import (
    AccessDenied,
    CreditsHeld,
    DailyAllowanceExhausted,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidApiKey,
    InvalidInput,
    InvalidSession,
    NotFound,
    RequestRefused,
)
from shared.core.shards import is_distributed
from shared.identity.payer import KeyPayer, SessionPayer, VisitorPayer
from shared.ledger import (
    VISITORS_DISABLED,
    Claim,
    HoldTaken,
    Reservation,
    Settled,
    Settlement,
    VisitorSettings,
    renew_pool,
    visitor_standing,
)
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import MIN_CALL_CREDITS, POOL_ACCOUNT_ID
from shared.models import Account, Allowance, ApiKey, Hold, LedgerEntry, UsageLedger, VisitorPoolDay, WebSession
from shared.operations.accounts import adjust_credits
from shared.operations.key_changes import update_key
from shared.operations.keys import create_key
from shared.rollup import month_spending
from tests import factories
from tests.factories import ORIGIN
from tests.shared.ledger.test_ledger import HOLD_MS, PRICE, in_threads, pool_of, quote

NOON = 20_900 * DAY_MS + DAY_MS // 2
TERMS = VisitorSettings(1_000, 300)
VISITOR, ANOTHER = "a" * 64, "b" * 64


def visit(visitor: str = VISITOR, bound: int = 100, minimum: int = 0, *, now: int = NOON, **columns: Any) -> Reservation:
    return Reservation(new_id(), "free", quote(bound, min(minimum, bound)), now + HOLD_MS, VisitorPayer(visitor), **columns)


def reserve(*asks: Reservation, now: int = NOON, terms: VisitorSettings = TERMS) -> list[HoldTaken | RequestRefused]:
    with transaction():
        return ledger.reserve(asks, now, terms)


def settle(reservation: Reservation, account: Any, cost: int, now: int = NOON, **columns: Any) -> Settled:
    item = Settlement(
        reservation.call,
        account,
        cost,
        "completed",
        price=PRICE.id,
        model=reservation.model,
        usage=TokenUsage(1, cost),
        has_claim=True,
        **columns,
    )
    with transaction():
        return ledger.settle([item], now)[0]


def amounts(*results: HoldTaken | RequestRefused) -> list[int | type]:
    return [result.amount if isinstance(result, HoldTaken) else type(result) for result in results]


def allowance(visitor: str = VISITOR, day: int = day_of(NOON)) -> tuple[int, int]:
    row = Allowance.get(Allowance.name == f"visitor/{day}/{visitor}")
    return row.used, row.held


def assert_ledger_verifies(now: int = NOON) -> None:
    assert verify_ledger(now).problems == ()


# Sessions


def session(owner: Account, **columns: Any) -> str:
    row = WebSession.create(digest=new_id().hex * 2, account=owner, **{"expires_at": NOON + DAY_MS, **columns})
    return str(row.digest)


def signed_in(digest: str, bound: int = 40) -> Reservation:
    return Reservation(new_id(), "m-1", quote(bound, bound), NOON + HOLD_MS, SessionPayer(digest))


def test_a_session_spends_its_accounts_credits(bound_database: peewee.Database) -> None:
    owner = factories.account(100)
    reservation = signed_in(session(owner))
    (taken,) = reserve(reservation)
    assert taken == HoldTaken(owner.id, None, 40, ledger.KeyAndPlanLimits())
    assert Hold.get().api_key_id is None
    assert settle(reservation, owner.id, 25) == Settled(25, 75)
    assert_ledger_verifies()


def test_an_ended_session_is_rejected_on_the_next_call(bound_database: peewee.Database) -> None:
    owner = factories.account(100)
    expired, revoked = session(owner, expires_at=NOON), session(owner, revoked_at=NOON - 1)
    assert amounts(*reserve(signed_in(expired), signed_in(revoked), signed_in("f" * 64))) == [InvalidSession] * 3
    good = session(owner)
    assert amounts(*reserve(signed_in(good))) == [40]
    WebSession.update(revoked_at=NOON).where(WebSession.digest == good).execute()
    assert amounts(*reserve(signed_in(good))) == [InvalidSession]


def test_a_session_of_a_suspended_account_is_refused(bound_database: peewee.Database) -> None:
    owner = factories.account(100)
    digest = session(owner)
    Account.update(status="suspended").where(Account.id == owner.id).execute()
    (refusal,) = reserve(signed_in(digest))
    assert isinstance(refusal, AccessDenied)
    assert refusal.code == "account_suspended"


def test_keys_sessions_and_visitors_of_one_batch(bound_database: peewee.Database) -> None:
    factories.model("free", is_free=True)
    first, second = factories.account(100), factories.account(100)
    key = Reservation(new_id(), "m-1", quote(70, 70), NOON + HOLD_MS, KeyPayer(factories.api_key(first)[0].digest))
    results = reserve(signed_in(session(first)), key, visit(), signed_in(session(second)), signed_in(session(first), 60))
    assert amounts(*results) == [40, CreditsHeld, 100, 40, 60]
    assert (pool_of(first.id), pool_of(second.id), pool_of(POOL_ACCOUNT_ID)) == ((100, 100), (100, 40), (1_000, 100))


def test_a_digest_pays_only_as_what_it_is(bound_database: peewee.Database) -> None:
    owner = factories.account(100)
    of_session, of_key = session(owner), str(factories.api_key(owner)[0].digest)
    mixed_up = Reservation(new_id(), "m-1", quote(40, 40), NOON + HOLD_MS, KeyPayer(of_session))
    results = reserve(signed_in(of_session), mixed_up, signed_in(of_key))  # one batch, which has also read the session's row
    assert amounts(*results) == [40, InvalidApiKey, InvalidSession]


# Visitors


@pytest.fixture
def free_model(bound_database: peewee.Database) -> None:
    factories.model("free", is_free=True)


@pytest.mark.usefixtures("free_model")
def test_a_visitor_spends_pool_credits_within_the_daily_allowance() -> None:
    reservation = visit()
    (taken,) = reserve(reservation)
    assert taken == HoldTaken(POOL_ACCOUNT_ID, None, 100, ledger.KeyAndPlanLimits())
    assert (pool_of(POOL_ACCOUNT_ID), allowance()) == ((1_000, 100), (0, 100))
    assert settle(reservation, POOL_ACCOUNT_ID, 60) == Settled(60, 240)  # the visitor's remainder, not the pool's
    assert (pool_of(POOL_ACCOUNT_ID), allowance()) == ((940, 0), (60, 0))
    assert amounts(*reserve(visit(bound=500, minimum=200), visit(bound=10))) == [240, CreditsHeld]
    assert amounts(*reserve(visit(ANOTHER, bound=500, minimum=200))) == [300]
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_a_used_up_allowance_reports_its_reset_time() -> None:
    whole = visit(bound=300)
    reserve(whole)
    settle(whole, POOL_ACCOUNT_ID, 300)
    (refusal,) = reserve(visit())
    assert isinstance(refusal, DailyAllowanceExhausted)
    assert refusal.resets_at == next_day_start(day_of(NOON))
    assert refusal.retry_after_ms == 60_000
    assert "Your daily allowance" in str(refusal)
    assert "2027-03-24T00:00:00Z" in str(refusal)
    late = reserve(visit(now=refusal.resets_at - 5), now=refusal.resets_at - 5)[0]
    assert isinstance(late, DailyAllowanceExhausted)
    assert late.retry_after_ms == 5


@pytest.mark.usefixtures("free_model")
def test_all_visitors_together_get_at_most_the_pool() -> None:
    results = reserve(*(visit(f"{number}" * 64, bound=250, minimum=250) for number in range(6)))
    assert amounts(*results) == [250] * 4 + [CreditsHeld] * 2
    assert pool_of(POOL_ACCOUNT_ID) == (1_000, 1_000)


@pytest.mark.usefixtures("free_model")
def test_a_spent_pool_is_named() -> None:
    for number in range(4):
        spent = visit(f"{number}" * 64, bound=250, minimum=250)
        reserve(spent)
        settle(spent, POOL_ACCOUNT_ID, 250)
    (refusal,) = reserve(visit())
    assert isinstance(refusal, DailyAllowanceExhausted)
    assert "Today's allowance for all visitors" in str(refusal)


@pytest.mark.usefixtures("free_model")
def test_without_a_pool_visitors_are_rejected() -> None:
    assert amounts(*reserve(visit(), terms=VISITORS_DISABLED)) == [InvalidSession]
    assert not Account.select().exists()
    reserve(visit())
    Account.update(status="suspended").where(Account.id == POOL_ACCOUNT_ID).execute()
    assert amounts(*reserve(visit())) == [InvalidSession]


@pytest.mark.usefixtures("free_model")
def test_visitors_may_only_use_free_models() -> None:
    factories.model("dear")
    (refusal,) = reserve(visit()._replace(model="dear"))
    assert isinstance(refusal, AccessDenied)
    assert refusal.code == "model_not_allowed"


@pytest.mark.usefixtures("free_model")
def test_a_free_call_costs_a_visitor_the_minimum() -> None:
    reservation = visit(bound=0)
    assert amounts(*reserve(reservation)) == [MIN_CALL_CREDITS]
    assert settle(reservation, POOL_ACCOUNT_ID, 0).credits == MIN_CALL_CREDITS
    undelivered = visit(bound=0)
    reserve(undelivered)
    with transaction():
        item = Settlement(undelivered.call, POOL_ACCOUNT_ID, 0, "failed", price=PRICE.id, model="free")
        assert ledger.settle([item], NOON)[0].credits == 0
    assert allowance() == (MIN_CALL_CREDITS, 0)
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_a_visitor_never_pays_more_than_the_hold() -> None:
    reservation = visit(bound=50)
    reserve(reservation)
    assert settle(reservation, POOL_ACCOUNT_ID, 80) == Settled(50, 250, uncharged_cost=30)


@pytest.mark.usefixtures("free_model")
def test_a_swept_call_of_a_visitor_is_released_once() -> None:
    reservation = visit(bound=200)
    reserve(reservation)
    late = NOON + HOLD_MS + 1
    assert [ledger.sweep(late), ledger.sweep(late)] == [1, 0]
    assert (pool_of(POOL_ACCOUNT_ID), allowance()) == ((1_000, 0), (0, 0))
    assert amounts(*reserve(visit(bound=250))) == [250]
    assert settle(reservation, POOL_ACCOUNT_ID, 200, late) == Settled(50, 250, uncharged_cost=150)  # 50 of the allowance are left
    assert not settle(reservation, POOL_ACCOUNT_ID, 200, late).is_first
    assert allowance() == (50, 250)
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_visitors_do_not_share_idempotency_keys() -> None:
    claim = Claim("c" * 64, "d" * 64)
    assert amounts(*reserve(visit(claim=claim), visit(ANOTHER, claim=claim), visit(claim=claim))) == [
        100,
        100,
        IdempotencyConflict,
    ]


@pytest.mark.usefixtures("free_model")
def test_daily_credits_are_granted_once_and_the_rest_expires() -> None:
    reservation, running = visit(bound=100), visit(bound=70)
    reserve(reservation, running)
    settle(reservation, POOL_ACCOUNT_ID, 40)
    with transaction():
        renew_pool(TERMS, NOON + 1)
    assert pool_of(POOL_ACCOUNT_ID) == (960, 70)
    tomorrow = NOON + DAY_MS
    for _ in range(3):
        with transaction():
            renew_pool(TERMS, tomorrow)
    assert pool_of(POOL_ACCOUNT_ID) == (1_000, 70)
    kinds = [(entry.kind, entry.amount) for entry in LedgerEntry.select().order_by(LedgerEntry.seq)]
    assert kinds == [("grant", 1_000), ("charge", -40), ("expiry", -890), ("grant", 930)]
    assert amounts(*reserve(visit(bound=300, minimum=300, now=tomorrow), now=tomorrow)) == [300]
    settle(running, POOL_ACCOUNT_ID, 70, tomorrow)
    assert (allowance(), allowance(day=day_of(tomorrow))) == ((110, 0), (0, 300))
    with transaction():
        renew_pool(TERMS, NOON)  # a worker whose clock is behind
    assert VisitorPoolDay.select().count() == 2
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_a_smaller_pool_takes_effect_the_next_day() -> None:
    running = visit(bound=300)
    reserve(running)
    with transaction():
        renew_pool(VisitorSettings(100, 300), NOON + DAY_MS)
    assert pool_of(POOL_ACCOUNT_ID) == (300, 300)
    with transaction():
        renew_pool(VISITORS_DISABLED, NOON + 2 * DAY_MS)
    settle(running, POOL_ACCOUNT_ID, 10, NOON + 2 * DAY_MS)
    with transaction():
        renew_pool(VISITORS_DISABLED, NOON + 3 * DAY_MS)
    assert pool_of(POOL_ACCOUNT_ID) == (0, 0)
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_the_remaining_allowance_of_a_visitor() -> None:
    assert visitor_standing(VISITOR, TERMS, NOON) == (300, 0, 300, next_day_start(day_of(NOON)))
    reservation = visit(bound=120)
    reserve(reservation)
    assert visitor_standing(VISITOR, TERMS, NOON)[1:3] == (120, 180)
    settle(reservation, POOL_ACCOUNT_ID, 20)
    assert visitor_standing(VISITOR, TERMS, NOON)[1:3] == (20, 280)
    assert visitor_standing(VISITOR, TERMS, NOON + DAY_MS)[1:3] == (0, 300)
    assert visitor_standing(ANOTHER, VISITORS_DISABLED, NOON)[:3] == (0, 0, 0)


@pytest.mark.usefixtures("free_model")
def test_past_days_are_deleted() -> None:
    reservation = visit()
    reserve(reservation)
    settle(reservation, POOL_ACCOUNT_ID, 10)
    ledger.sweep(NOON + 30 * DAY_MS)
    assert not Allowance.select().exists()
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_a_settlement_after_its_day_was_deleted_charges_nothing() -> None:
    reservation = visit()
    reserve(reservation)
    much_later = NOON + 30 * DAY_MS
    ledger.sweep(much_later)  # a delayed sweeper releases the hold and deletes the day in the same run
    assert settle(reservation, POOL_ACCOUNT_ID, 50, much_later) == Settled(0, 0, uncharged_cost=50)
    assert pool_of(POOL_ACCOUNT_ID) == (1_000, 0)
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_the_pool_account_cannot_be_used_or_changed() -> None:
    reserve(visit())
    with pytest.raises(InvalidInput, match="visitors' pool"):
        create_key(POOL_ACCOUNT_ID, "stolen", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="visitors' pool"):
        adjust_credits(POOL_ACCOUNT_ID, 5, "a gift", origin=ORIGIN)


def test_concurrent_visitors_share_one_renewal_and_one_limit(bound_postgres: peewee.Database) -> None:
    factories.model("free", is_free=True)
    owners = [factories.account(500) for _ in range(3)]
    digests = [session(owner) for owner in owners]
    taken: list[int] = []
    lock = threading.Lock()

    def work(index: int) -> None:
        for turn in range(15):
            asks = [visit(f"{turn % 3}" * 64, bound=30, minimum=30), signed_in(digests[(index + turn) % 3], 1)]
            results = reserve(*asks)
            for reservation, result in zip(asks, results, strict=True):
                if isinstance(result, HoldTaken):
                    settled = settle(reservation, result.account, result.amount - 1 or 1)
                    with lock:
                        taken.append(settled.credits if result.account == POOL_ACCOUNT_ID else 0)
        drop_connection()

    in_threads(work, 4)
    assert VisitorPoolDay.select().count() == 1
    assert 800 <= sum(taken) <= 900  # three visitors with 300 each
    assert pool_of(POOL_ACCOUNT_ID) == (1_000 - sum(taken), 0)
    assert UsageLedger.select().where(UsageLedger.account == POOL_ACCOUNT_ID).count() == sum(1 for credits in taken if credits)
    assert_ledger_verifies()


# Keys with a monthly limit


def limited_key(owner: Account, limit: int) -> ApiKey:
    row, _ = factories.api_key(owner)
    row.monthly_credit_limit = limit
    row.save()
    return row


def keyed(row: ApiKey, bound: int, minimum: int | None = None) -> Reservation:
    lower_bound = bound if minimum is None else minimum
    return Reservation(new_id(), "m-1", quote(bound, lower_bound), NOON + HOLD_MS, KeyPayer(str(row.digest)))


def test_a_key_stops_at_its_own_limit(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    row = limited_key(owner, 100)
    first, second = keyed(row, 60), keyed(row, 60, 30)
    assert amounts(*reserve(first, second, keyed(row, 10))) == [60, 40, CreditsHeld]
    assert settle(first, owner.id, 20) == Settled(20, 980)
    assert settle(second, owner.id, 70) == Settled(70, 910)  # 30 above its hold, within the key's remaining limit
    third = keyed(row, 50, 5)
    assert amounts(*reserve(third)) == [10]
    assert settle(third, owner.id, 50) == Settled(10, 900, uncharged_cost=40)
    (refusal,) = reserve(keyed(row, 1))
    assert isinstance(refusal, InsufficientCredits)
    assert "limit is 100 credits a month" in str(refusal)
    assert "2027-04-01T00:00:00Z" in str(refusal)
    assert (refusal.required, refusal.balance, refusal.max_tokens_affordable) == (1, 900, 0)
    assert_ledger_verifies()


def test_an_extension_stays_within_the_keys_limit(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    row = limited_key(owner, 100)
    first, second = keyed(row, 60), keyed(row, 30)
    reserve(first, second)
    with transaction():
        results = ledger.extend([ledger.Extension(first.call, owner.id, 40)], NOON)
    assert results == [ledger.Extended(10, may_retry=True)]
    assert amounts(*reserve(keyed(row, 1))) == [CreditsHeld]
    assert_ledger_verifies()
    assert settle(first, owner.id, 70) == Settled(70, 930)
    assert settle(second, owner.id, 0) == Settled(0, 930)
    assert_ledger_verifies()


@pytest.mark.usefixtures("free_model")
def test_an_extension_stays_within_a_visitors_allowance() -> None:
    reservation = visit(bound=250)
    reserve(reservation)
    with transaction():
        assert ledger.extend([ledger.Extension(reservation.call, POOL_ACCOUNT_ID, 100)], NOON) == [ledger.Extended(50)]
    assert allowance() == (0, 300)
    assert settle(reservation, POOL_ACCOUNT_ID, 400) == Settled(300, 0, uncharged_cost=100)
    assert_ledger_verifies()


def test_a_keys_limit_applies_per_calendar_month(bound_database: peewee.Database) -> None:
    row = limited_key(factories.account(1_000), 100)
    april = NOON + 10 * DAY_MS
    results = reserve(keyed(row, 100)), reserve(keyed(row, 100)), reserve(keyed(row, 100), now=april)
    assert [amounts(*result) for result in results] == [[100], [CreditsHeld], [100]]


def test_a_lowered_limit_applies_to_the_next_call(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    row = limited_key(owner, 100)
    running = keyed(row, 80)
    reserve(running)
    ApiKey.update(monthly_credit_limit=50).where(ApiKey.id == row.id).execute()
    assert amounts(*reserve(keyed(row, 1))) == [CreditsHeld]
    assert settle(running, owner.id, 70).credits == 70
    assert_ledger_verifies()


def test_a_limit_added_later_counts_spent_and_held_credits(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    row, _ = factories.api_key(owner)
    now = now_ms()
    spent, running = keyed(row, 60)._replace(expires_at=now + HOLD_MS), keyed(row, 70)._replace(expires_at=now + HOLD_MS)
    reserve(spent, running, now=now)
    settle(spent, owner.id, 45, now, api_key=row.id, created_at=now)
    update_key(row.id, {"monthly_credit_limit": 150}, origin=ORIGIN)
    assert amounts(*reserve(keyed(row, 100, 30), now=now)) == [35]
    assert settle(running, owner.id, 70, now, api_key=row.id, created_at=now).credits == 70
    assert month_spending(owner.id, now) == {row.id: 115}
    update_key(row.id, {"monthly_credit_limit": 300}, origin=ORIGIN)
    assert amounts(*reserve(keyed(row, 500, 30), now=now)) == [150]
    update_key(str(row.id), {"monthly_credit_limit": None}, origin=ORIGIN)
    assert amounts(*reserve(keyed(row, 400), now=now)) == [400]
    assert_ledger_verifies(now)
    with pytest.raises(NotFound):
        update_key(new_id(), {"monthly_credit_limit": 5}, origin=ORIGIN)
    with pytest.raises(InvalidInput):
        update_key(row.id, {"monthly_credit_limit": -5}, origin=ORIGIN)


def test_a_remembered_account_does_not_admit_a_revoked_or_another_accounts_key(bound_database: peewee.Database) -> None:
    owner, other = factories.account(100), factories.account(100)
    key, revoked = (factories.api_key(owner)[0] for _ in range(2))
    digest, ended = session(owner), session(owner, revoked_at=NOON - 1)
    asks = [keyed(key, 10), signed_in(digest, 10), keyed(revoked, 10), signed_in(ended, 10)]
    ApiKey.update(revoked_at=NOON - 1).where(ApiKey.id == revoked.id).execute()
    results = reserve(*(ask._replace(account=owner.id) for ask in asks))
    assert amounts(*results) == [10, 10, InvalidApiKey, InvalidSession]
    results = reserve(*(ask._replace(account=other.id) for ask in asks[:2]))
    assert amounts(*results) == [InvalidApiKey, InvalidSession]
    results = reserve(asks[0]._replace(call=new_id()), asks[1]._replace(call=new_id()))  # the account is looked up
    assert amounts(*results) == [10, 10]
    assert_ledger_verifies()


def test_a_plain_call_needs_a_fixed_number_of_statements(
    bound_database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = factories.account(1_000)
    asks = [keyed(factories.api_key(owner)[0], 10)._replace(account=owner.id) for _ in range(5)]
    is_distributed()  # asks the database once
    statements: list[str] = []
    execute = type(bound_database).execute_sql

    def counted(self: Any, sql: str, *rest: Any, **options: Any) -> Any:
        statements.append(sql)
        return execute(self, sql, *rest, **options)

    monkeypatch.setattr(type(bound_database), "execute_sql", counted)
    with transaction():
        ledger.reserve(asks, NOON)
    taken = [sql.split()[0] for sql in statements if not sql.startswith(("BEGIN", "SET LOCAL"))]
    statements.clear()
    items = [
        Settlement(reservation.call, owner.id, 3, "completed", price=PRICE.id, model="m-1", usage=TokenUsage(1, 3))
        for reservation in asks
    ]
    with transaction():
        ledger.settle(items, NOON)
    assert taken == ["SELECT", "UPDATE", "INSERT"]
    assert [sql.split()[0] for sql in statements if not sql.startswith(("BEGIN", "SET LOCAL"))] == [
        *("SELECT", "DELETE", "UPDATE", "INSERT", "INSERT")
    ]


def test_concurrent_calls_never_exceed_a_keys_limit(bound_postgres: peewee.Database) -> None:
    owner = factories.account(100_000)
    row = limited_key(owner, 300)
    charged: list[int] = []

    def work(index: int) -> None:
        for turn in range(20):
            reservation = keyed(row, 20, 5)
            if isinstance(reserve(reservation)[0], HoldTaken):
                charged.append(settle(reservation, owner.id, 3 + (index + turn) % 30).credits)
        drop_connection()

    in_threads(work, 4)
    assert 295 < sum(charged) <= 300  # a remainder below the minimum of 5 allows no call
    assert pool_of(owner.id) == (100_000 - sum(charged), 0)
    assert_ledger_verifies()
