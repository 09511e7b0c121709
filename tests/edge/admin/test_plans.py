"""Plans in the administration API."""

from __future__ import annotations

from typing import Any

import pytest

from edge.admin.plans import PLAN, NewPlan, PlanChanges
from shared.core.clock import new_id
from shared.models import AuditEntry
from shared.operations.plans import DEFAULT_TERMS
from tests.edge.admin.conftest import AdminClient


def test_the_life_of_a_plan(admin: AdminClient) -> None:
    name = f"Team {new_id().hex}"
    made = admin.post("/plans/", {"name": name, "monthly_credits": 5_000, "rpm": 60})
    assert made.status == 201, made.body
    plan = made.json
    assert {**plan, "id": "", "created": ""} == {
        **{"id": "", "name": name, "status": "active", "created": ""},
        **{**DEFAULT_TERMS, "monthly_credits": 5_000, "rpm": 60},
    }
    path = f"/plans/{plan['id']}/"
    assert admin.get(path).json == admin.get(f"/plans/{name.replace(' ', '%20')}/").json == plan
    changed = admin.patch(path, {"rpm": None, "overage_allowed": True, "status": "disabled"}).json
    assert (changed["rpm"], changed["overage_allowed"], changed["status"]) == (None, True, "disabled")
    assert changed["monthly_credits"] == 5_000
    assert admin.get("/plans/?limit=100").json["plans"][-1] == changed
    rows = AuditEntry.select().where(AuditEntry.target == plan["id"]).order_by(AuditEntry.id)
    assert [(row.action, row.actor) for row in rows] == [
        ("plan.create", admin.actor),
        ("plan.change", admin.actor),
        ("plan.status", admin.actor),
    ]


def test_a_plan_that_is_named_like_the_id_of_another_does_not_replace_it(admin: AdminClient) -> None:
    first = admin.post("/plans/", {"name": f"Team {new_id().hex}"}).json
    second = admin.post("/plans/", {"name": first["id"]}).json
    assert admin.patch(f"/plans/{first['id']}/", {"rpm": 60}).json == {**first, "rpm": 60}
    assert admin.get(f"/plans/{second['id']}/").json == second


def test_every_term_can_be_set_and_read() -> None:
    assert set(NewPlan.__struct_fields__) == {"name", *DEFAULT_TERMS}
    assert set(PlanChanges.__struct_fields__) == {"status", *DEFAULT_TERMS}
    assert set(PLAN["properties"]) == {"id", "name", "status", "created", *DEFAULT_TERMS}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x", "rpm": 0}, "rpm"),
        ({"name": "x", "monthly_credits": 1.5}, "monthly_credits"),
        ({"name": "x", "overage_allowed": "yes"}, "overage_allowed"),
        ({"name": "x", "allowed_models": ["unknown"]}, None),
        ({"name": "x", "usage_days": 5}, "usage_days"),
    ],
)
def test_invalid_terms_are_refused(admin: AdminClient, body: Any, param: str | None) -> None:
    reply = admin.post("/plans/", body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
