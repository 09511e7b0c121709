"""The accounts resource of the administration API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.core.clock import new_id
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, AuditEntry, Plan, PurgeJob
from shared.operations.subscriptions import subscribe
from tests import factories
from tests.edge.admin.conftest import AdminClient, AdminStack
from tests.factories import ORIGIN


def test_the_life_of_an_account(admin: AdminClient, stack: AdminStack) -> None:
    made = admin.post("/accounts/", {"email": "Life@Example.com", "name": "Life"})
    assert made.status == 201, made.body
    account = made.json
    assert {**account, "id": "", "created": "", "rate_limits": {}} == {
        **{"id": "", "email": "life@example.com", "name": "Life", "status": "active", "balance": 0, "held": 0},
        **{"plan_credits": 0, "plan": None, "rate_limits": {}, "email_verified_at": None, "created": ""},
    }
    path = f"/accounts/{account['id']}/"
    assert admin.get(path).json == account
    assert admin.get("/accounts/LIFE@example.com/").json == account
    _, secret = factories.api_key(Account.get_by_id(account["id"]))

    def call() -> int:
        return stack.request("GET", "/api/key/", None, {"authorization": f"Bearer {secret}"}).status

    assert call() == 200
    assert admin.patch(path, {"status": "suspended"}).json["status"] == "suspended"
    assert call() == 403
    changed = admin.patch(path, {"status": "active", "name": "", "email": "new@example.com"}).json
    assert (changed["status"], changed["name"], changed["email"]) == ("active", "", "new@example.com")
    assert call() == 200
    closed = admin.delete(path)
    assert (closed.status, closed.json["status"]) == (200, "closed")
    assert call() == 401
    assert admin.delete(path).json == closed.json
    assert admin.get(path).json == closed.json
    assert PurgeJob.select().where(PurgeJob.account == account["id"]).count() == 1
    assert admin.patch(path, {"status": "active"}).status == 400
    rows = AuditEntry.select().where(AuditEntry.target == account["id"]).order_by(AuditEntry.created_at, AuditEntry.id)
    assert {row.actor for row in rows} == {admin.actor}
    assert {row.address for row in rows} == {"127.0.0.1"}
    assert [row.action for row in rows] == [
        *("account.create", "account.status", "account.name", "account.email", "account.status"),
        *("account.purge", "account.close"),
    ]


def test_a_plan_sets_the_rate_limits(admin: AdminClient) -> None:
    account = factories.account()
    plan = Plan.create(name=f"Team {account.email}", rpm=7, tpm=70)
    subscribe(account.id, plan.id, origin=ORIGIN)
    found = admin.get(f"/accounts/{account.id}/").json
    assert (found["plan"]["id"], found["plan"]["name"]) == (str(plan.id), plan.name)
    assert found["rate_limits"]["requests_per_minute"] == 7
    assert found["rate_limits"]["tokens_per_minute"] == 70
    assert found["rate_limits"]["concurrency"] > 0


def test_lists_are_pages_and_can_be_filtered(admin: AdminClient) -> None:
    accounts = [factories.account(email=f"page-{number}-{new_id().hex}@example.com") for number in range(5)]
    marker = accounts[2].email.partition("@")[0]
    assert [row["id"] for row in admin.get(f"/accounts/?search={marker.upper()}").json["accounts"]] == [str(accounts[2].id)]
    assert [row["id"] for row in admin.get(f"/accounts/?email={accounts[3].email.upper()}").json["accounts"]] == [
        str(accounts[3].id)
    ]
    admin.patch(f"/accounts/{accounts[4].id}/", {"status": "suspended"})
    suspended = admin.get("/accounts/?status=suspended&limit=100").json["accounts"]
    assert str(accounts[4].id) in {row["id"] for row in suspended}
    assert {row["status"] for row in suspended} == {"suspended"}
    seen: list[str] = []
    path: str | None = "/accounts/?limit=2"
    while path is not None:
        page = admin.get(path).json
        assert len(page["accounts"]) <= 2
        seen += [row["id"] for row in page["accounts"]]
        path = f"/accounts/?limit=2&after={page['next']}" if page["next"] else None
    assert seen == sorted(set(seen))
    assert {str(account.id) for account in accounts} < set(seen)
    assert str(POOL_ACCOUNT_ID) not in seen


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/accounts/", {}, "email"),
        ("POST", "/accounts/", {"email": "a@example.com", "credits": 5}, "credits"),
        ("POST", "/accounts/", {"email": "a@example.com", "name": 5}, "name"),
        ("POST", "/accounts/", {"email": "a@example.com", "name": "a\nb"}, None),
        ("POST", "/accounts/", {"email": "no address"}, None),
        ("POST", "/accounts/", b"{", None),
        ("GET", "/accounts/?limit=0", None, "limit"),
        ("GET", "/accounts/?after=x", None, "after"),
        ("GET", "/accounts/?status=odd", None, "status"),
        ("PATCH", "/accounts/{}/", {}, None),
        ("PATCH", "/accounts/{}/", {"status": "closed"}, "status"),
        ("PATCH", "/accounts/{}/", {"email": None}, "email"),
        ("DELETE", "/accounts/{}/", {"status": "closed"}, None),
    ],
)
def test_invalid_requests_name_the_field(admin: AdminClient, method: str, path: str, body: Any, param: str | None) -> None:
    reply = admin.request(method, path.format(factories.account().id), body)
    assert (reply.status, reply.error["type"], reply.error["param"]) == (400, "invalid_request_error", param), reply.body
    assert reply.error["message"]


def test_a_taken_address_is_refused(admin: AdminClient) -> None:
    taken = factories.account().email
    assert admin.post("/accounts/", {"email": taken}).status == 400
    other = factories.account()
    assert admin.patch(f"/accounts/{other.id}/", {"name": "N", "email": taken}).status == 400
    assert Account.get_by_id(other.id).name == ""  # nothing of the request took effect


@pytest.mark.parametrize("id", [str(UUID(int=1)), "x", "nobody@example.com", str(POOL_ACCOUNT_ID)])
def test_unknown_accounts(admin: AdminClient, id: str) -> None:
    requests = (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None))
    replies = [admin.request(method, f"/accounts/{id}/", body) for method, body in requests]
    assert {(reply.status, reply.error["code"]) for reply in replies} == {(404, "not_found")}
