"""The budgets API: the lifecycle of a budget, who may use it, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import new_id
from shared.models import AuditEntry
from shared.operations.keys import KeyOptions, create_key
from shared.operations.members import MemberTerms, add_member
from tests import factories
from tests.edge.api.conftest import ApiStack, Customer
from tests.factories import ORIGIN

HOOK = "https://hooks.slack.com/services/T/B/x"


@pytest.fixture
def manager(api: ApiStack) -> Customer:
    return api.customer(can_manage=True)


def test_the_life_of_a_budget(manager: Customer) -> None:
    key, _ = factories.api_key(manager.account)
    body = {
        "scope": "key",
        "target": str(key.id),
        "period": "day",
        "credits": 500,
        "webhook_url": HOOK,
        "webhook_format": "slack",
    }
    made = manager.post("/api/budgets/", body)
    assert made.status == 201, made.body
    budget = made.json
    assert {**budget, "id": "", "created": ""} == {
        **body, "id": "", "created": "", "percents": [50, 80, 100], "email": True, "spent": None, "spent_at": None,
    }  # fmt: skip
    low = manager.post("/api/budgets/", {"scope": "balance", "credits": 9}).json
    assert (low["period"], low["target"], low["percents"]) == (None, None, [100])
    assert [row["id"] for row in manager.get("/api/budgets/").json["budgets"]] == [budget["id"], low["id"]]
    path = f"/api/budgets/{budget['id']}/"
    changed = manager.request("PATCH", path, {"credits": 900, "percents": [100, 90], "webhook_url": None})
    assert (changed.json["credits"], changed.json["percents"], changed.json["webhook_url"]) == (900, [90, 100], None)
    assert manager.get(path).json == changed.json
    refused = manager.request("PATCH", path, {"email": False})
    assert (refused.status, refused.json["error"]["message"]) == (400, "Choose email, a webhook, or both.")
    assert manager.request("DELETE", path).json == {"id": budget["id"], "deleted": True}
    assert manager.get(path).status == 404
    actions = [row.action for row in AuditEntry.select().where(AuditEntry.target == str(manager.account.id))]
    assert [action for action in actions if action.startswith("budget.")].count("budget.create") == 2
    assert HOOK not in str([row.after for row in AuditEntry.select().where(AuditEntry.action == "budget.create")])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"credits": 5}, "scope"),
        ({"scope": "account"}, "credits"),
        ({"scope": "account", "credits": 0}, "credits"),
        ({"scope": "account", "credits": 5, "percents": []}, "percents"),
        ({"scope": "account", "credits": 5, "percents": [0]}, "percents"),
        ({"scope": "planet", "credits": 5}, "scope"),
        ({"scope": "account", "credits": 5, "webhook_url": "http://127.0.0.1/x"}, "webhook_url"),
        ({"scope": "account", "credits": 5, "webhook_url": "ftp://example.com/x"}, "webhook_url"),
        ({"scope": "account", "credits": 5, "spent": 1}, "spent"),
    ],
)
def test_invalid_budgets_name_the_field(manager: Customer, body: dict[str, Any], param: str) -> None:
    answer = manager.post("/api/budgets/", body)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


def test_budgets_of_other_accounts_and_roles(api: ApiStack, manager: Customer) -> None:
    budget = manager.post("/api/budgets/", {"scope": "account", "credits": 5}).json["id"]
    other = api.customer(can_manage=True)
    for id in (budget, str(new_id()), "x"):
        answers = [other.request(method, f"/api/budgets/{id}/", body) for method, body in
                   (("GET", None), ("PATCH", {"credits": 1}), ("DELETE", None))]  # fmt: skip
        assert {(answer.status, answer.json["error"]["message"]) for answer in answers} == {(404, "There is no such budget.")}
    foreign = other.post("/api/budgets/", {"scope": "member", "target": str(manager.account.id), "credits": 5})
    assert (foreign.status, foreign.json["error"]["message"]) == (404, "There is no such member.")
    plain = manager.with_key(factories.api_key(manager.account, can_manage=False)[1])
    assert plain.get("/api/budgets/").json["error"]["code"] == "insufficient_scope"
    for role, status in (("developer", 403), ("viewer", 403), ("admin", 200)):
        member = add_member(manager.account.id, f"{new_id().hex}@example.com", MemberTerms(role), origin=ORIGIN).member
        secret = create_key(manager.account.id, role, KeyOptions(can_manage=True), member=member.id, origin=ORIGIN).secret
        assert manager.with_key(secret).get("/api/budgets/").status == status, role
