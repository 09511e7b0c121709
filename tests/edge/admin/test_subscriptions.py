"""The plan of an account in the administration API."""

from __future__ import annotations

import pytest

from shared.core.clock import new_id
from shared.models import Account, AuditEntry, Plan
from tests import factories
from tests.edge.admin.conftest import AdminClient


@pytest.fixture
def plans() -> tuple[Plan, Plan]:
    small = Plan.create(name=f"small-{new_id().hex}", monthly_credits=100, overage_allowed=True)
    return small, Plan.create(name=f"large-{new_id().hex}", monthly_credits=300)


def test_the_life_of_a_subscription(admin: AdminClient, plans: tuple[Plan, Plan]) -> None:
    small, large = plans
    account = factories.account(0)
    path = f"/accounts/{account.id}/subscription/"
    assert admin.get(path).status == 404
    assert admin.delete(path).status == 404
    began = admin.request("PUT", path, {"plan": small.name, "overage_cap": 50})
    assert began.status == 200, began.body
    assert began.json["plan"] == {"id": str(small.id), "name": small.name}
    assert (began.json["overage_cap"], began.json["suspended"], began.json["next_plan"]) == (50, False, None)
    assert admin.get(path).json == began.json
    assert Account.get_by_id(account.id).balance == 100
    again = admin.request("PUT", path, {"plan": str(small.id), "overage_cap": 50})
    assert again.json == began.json
    assert Account.get_by_id(account.id).balance == 100
    later = admin.request("PUT", path, {"plan": large.name, "when": "next_period"}).json
    assert (later["plan"]["name"], later["next_plan"]) == (small.name, str(large.id))
    now = admin.request("PUT", path, {"plan": large.name, "suspended": True}).json
    assert (now["plan"]["name"], now["next_plan"], now["suspended"]) == (large.name, None, True)
    assert Account.get_by_id(account.id).balance == 300
    assert admin.request("PUT", path, {"plan": large.name, "suspended": False}).json["suspended"] is False
    assert admin.delete(f"{path}?when=next_period").json["cancelled_at"] is not None
    assert admin.delete(path).status == 200
    assert admin.get(path).status == 404
    assert Account.get_by_id(account.id).balance == 0
    actions = [row.action for row in AuditEntry.select().where(AuditEntry.actor == admin.actor).order_by(AuditEntry.id)]
    assert actions == [
        *("subscription.create", "subscription.overage", "subscription.change", "subscription.change", "subscription.suspend"),
        *("subscription.resume", "subscription.cancel", "subscription.end"),
    ]


def test_what_a_plan_does_not_allow_leaves_everything_as_it_was(admin: AdminClient, plans: tuple[Plan, Plan]) -> None:
    account = factories.account(0)
    path = f"/accounts/{account.id}/subscription/"
    refused = admin.request("PUT", path, {"plan": plans[1].name, "overage_cap": 50})
    assert (refused.status, "does not allow overage" in refused.error["message"]) == (400, True)
    assert admin.get(path).status == 404
    assert admin.request("PUT", path, {"plan": "no such plan"}).status == 404
    assert admin.request("PUT", path, {"plan": plans[0].name, "when": "never"}).error["param"] == "when"
    assert admin.delete(f"{path}?when=never").error["param"] == "when"
