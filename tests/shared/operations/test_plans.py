"""Plans and subscriptions: rejected values and audit entries. For billing periods see `test_renewals`."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from shared.core.errors import InvalidInput, NotFound
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, AuditEntry, Plan
from shared.operations.accounts import set_account_status
from shared.operations.plans import DEFAULT_TERMS, create_plan, find_plan, set_plan_status, update_plan
from shared.operations.subscriptions import (
    cancel_subscription,
    change_subscription,
    set_overage,
    subscribe,
    withdraw_cancellation,
)
from tests import factories
from tests.factories import ORIGIN


def test_a_plan_stores_its_terms(bound_database: peewee.Database) -> None:
    factories.model("m-1")
    terms = {
        "monthly_credits": 5,
        "rollover_cap": 7,
        "price_cents": 990,
        "rpm": 3,
        "allowed_models": ["m-1"],
        "overage_allowed": True,
    }
    row = create_plan(" Pro ", terms, origin=ORIGIN)
    assert {term: getattr(row, term) for term in DEFAULT_TERMS} == {**DEFAULT_TERMS, **terms}
    assert find_plan("Pro") == find_plan(row.id) == find_plan(str(row.id)) == row
    changed = update_plan("Pro", {"rpm": None, "monthly_credits": 6}, origin=ORIGIN)
    assert (changed.rpm, changed.monthly_credits, changed.rollover_cap) == (None, 6, 7)
    update_plan("Pro", {"monthly_credits": 6}, origin=ORIGIN)
    trail = [(row.action, row.before, row.after) for row in AuditEntry.select().where(AuditEntry.action == "plan.change")]
    assert trail == [("plan.change", {"rpm": 3, "monthly_credits": 5}, {"rpm": None, "monthly_credits": 6})]


@pytest.mark.parametrize(
    "terms",
    [
        {"monthly_credits": -1},
        {"monthly_credits": None},
        {"monthly_credits": 1.5},
        {"rollover_cap": -1},
        {"rpm": 0},
        {"allowed_models": []},
        {"allowed_models": ["unknown"]},
        {"overage_allowed": 1},
        {"colour": "red"},
    ],
)
def test_invalid_terms(bound_database: peewee.Database, terms: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        create_plan("Pro", terms, origin=ORIGIN)
    assert not Plan.select().exists()


def test_names_are_unique(bound_database: peewee.Database) -> None:
    create_plan("Pro", {}, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="already exists"):
        create_plan("Pro", {}, origin=ORIGIN)
    with pytest.raises(NotFound, match="yout plan create"):
        find_plan("Amateur")


def test_who_cannot_subscribe(bound_database: peewee.Database) -> None:
    owner, free = factories.account(0), create_plan("Free", {"monthly_credits": 5}, origin=ORIGIN)
    with pytest.raises(NotFound, match="has no plan"):
        cancel_subscription(owner.id, origin=ORIGIN)
    with pytest.raises(NotFound):
        subscribe(owner.id, "Amateur", origin=ORIGIN)
    set_account_status(owner.id, "suspended", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="is suspended"):
        subscribe(owner.id, "Free", origin=ORIGIN)
    set_account_status(owner.id, "active", origin=ORIGIN)
    set_plan_status("Free", "disabled", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="closed to new subscribers"):
        subscribe(owner.id, "Free", origin=ORIGIN)
    set_plan_status("Free", "active", origin=ORIGIN)
    assert subscribe(owner.email, free.id, origin=ORIGIN).plan == free
    with pytest.raises(InvalidInput, match="already has the plan"):
        subscribe(owner.id, "Free", origin=ORIGIN)
    Account.create(id=POOL_ACCOUNT_ID, email="visitors")
    with pytest.raises(InvalidInput, match="visitors' pool"):
        subscribe(POOL_ACCOUNT_ID, "Free", origin=ORIGIN)


def test_overage_requires_a_plan_that_allows_it(bound_database: peewee.Database) -> None:
    owner = factories.account(0)
    create_plan("Free", {}, origin=ORIGIN)
    subscribe(owner.id, "Free", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="does not allow overage"):
        set_overage(owner.id, 5, origin=ORIGIN)
    assert set_overage(owner.id, 0, origin=ORIGIN).overage_cap == 0
    update_plan("Free", {"overage_allowed": True}, origin=ORIGIN)
    assert set_overage(owner.id, 5, origin=ORIGIN).overage_cap == 5
    with pytest.raises(InvalidInput):
        set_overage(owner.id, -1, origin=ORIGIN)


def test_a_cancellation_can_be_withdrawn(bound_database: peewee.Database) -> None:
    owner = factories.account(0)
    create_plan("Free", {}, origin=ORIGIN)
    subscribe(owner.id, "Free", origin=ORIGIN)
    assert cancel_subscription(owner.id, origin=ORIGIN).cancelled_at is not None
    assert withdraw_cancellation(owner.id, origin=ORIGIN).cancelled_at is None
    cancel_subscription(owner.id, origin=ORIGIN)
    assert change_subscription(owner.id, "Free", origin=ORIGIN).cancelled_at is None
    actions = [
        row.action for row in AuditEntry.select().where(AuditEntry.action.startswith("subscription")).order_by(AuditEntry.id)
    ]
    assert actions == [f"subscription.{verb}" for verb in ("create", "cancel", "keep", "cancel", "change")]
