"""Credits and ledger entries in the administration API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.models import Account, AuditEntry, LedgerEntry
from tests import factories
from tests.edge.admin.conftest import AdminClient


def test_credits_are_added_and_removed(admin: AdminClient) -> None:
    account = factories.account(0)
    path = f"/accounts/{account.id}/entries/"
    added = admin.post(path, {"amount": 500, "reason": "Trial"})
    assert added.status == 201, added.body
    assert {**added.json, "created": ""} == {
        **{"seq": 1, "account": str(account.id), "kind": "grant", "amount": 500, "plan_amount": 0, "balance_after": 500},
        **{"request_id": None, "actor": admin.actor, "reason": "Trial", "created": ""},
    }
    removed = admin.post(path, {"amount": -200, "reason": "Correction"}).json
    assert (removed["seq"], removed["kind"], removed["amount"], removed["balance_after"]) == (2, "adjustment", -200, 300)
    assert admin.get(f"{path}1/").json == added.json
    assert admin.get(path).json == {"entries": [added.json, removed], "next": None}
    assert admin.get(f"/accounts/{account.id}/").json["balance"] == 300
    rows = AuditEntry.select().where((AuditEntry.target == str(account.id)) & (AuditEntry.actor == admin.actor))
    assert [row.action for row in rows.order_by(AuditEntry.id)] == ["credits.grant", "credits.adjustment"]


def test_parallel_repetitions_add_credits_once(admin: AdminClient) -> None:
    account = factories.account(0)
    body = {"amount": 100, "reason": "Once"}
    path = f"/accounts/{account.id}/entries/"
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: admin.post(path, body, idempotency_key="grant"), range(40)))
    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    assert Account.get_by_id(account.id).balance == 100
    assert LedgerEntry.select().where(LedgerEntry.account == account.id).count() == 1


def test_lists_are_pages_and_can_be_filtered(admin: AdminClient) -> None:
    account = factories.account(0)
    path = f"/accounts/{account.id}/entries/"
    for amount in (5, -1, 7, -2, 9):
        admin.post(path, {"amount": amount, "reason": "r"})
    first = admin.get(f"{path}?limit=3").json
    assert ([row["seq"] for row in first["entries"]], first["next"]) == ([1, 2, 3], 3)
    second = admin.get(f"{path}?limit=3&after=3").json
    assert ([row["seq"] for row in second["entries"]], second["next"]) == ([4, 5], None)
    assert [row["amount"] for row in admin.get(f"{path}?kind=adjustment").json["entries"]] == [-1, -2]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"amount": 5}, "reason"),
        ({"amount": 0, "reason": "r"}, None),
        ({"amount": -1, "reason": "more than there is"}, None),
        ({"amount": 10**16, "reason": "r"}, "amount"),
        ({"amount": 1.5, "reason": "r"}, "amount"),
    ],
)
def test_invalid_amounts_are_refused(admin: AdminClient, body: Any, param: str | None) -> None:
    account = factories.account(0)
    reply = admin.post(f"/accounts/{account.id}/entries/", body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert not LedgerEntry.select().where(LedgerEntry.account == account.id).exists()


@pytest.mark.parametrize("seq", ["0", "2", "-1", "x", "9" * 30])
def test_unknown_entries(admin: AdminClient, seq: str) -> None:
    account = factories.account(10)
    assert admin.get(f"/accounts/{account.id}/entries/1/").status == 200
    assert admin.get(f"/accounts/{account.id}/entries/{seq}/").status == 404


@pytest.mark.parametrize(
    ("query", "param"), [("kind=odd", "kind"), ("after=-1", "after"), ("limit=101", "limit"), ("since=1", "since")]
)
def test_unknown_parameters_and_values_are_refused(admin: AdminClient, query: str, param: str) -> None:
    reply = admin.get(f"/accounts/{factories.account().id}/entries/?{query}")
    assert (reply.status, reply.error["param"]) == (400, param)
