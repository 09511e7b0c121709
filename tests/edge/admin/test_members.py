"""The members resource of the administration API."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import new_id
from shared.models import AuditEntry
from shared.operations.keys import KeyOptions, create_key
from tests import factories
from tests.edge.admin.conftest import AdminClient, AdminStack
from tests.factories import ORIGIN


def address() -> str:
    return f"m-{new_id().hex}@example.com"


def test_the_life_of_a_member(admin: AdminClient, stack: AdminStack) -> None:
    account, email = factories.account(), address()
    path = f"/accounts/{account.id}/members/"
    made = admin.post(path, {"email": email.upper(), "role": "developer", "monthly_credit_limit": 500}, idempotency_key="m")
    assert made.status == 201, made.body
    url = made.json["password_url"]
    page = stack.request("GET", url[url.index("/password/") :])
    assert (page.status, email in page.body.decode()) == (200, True)
    member = {name: value for name, value in made.json.items() if name != "password_url"}
    assert {**member, "id": "", "created": ""} == {
        **{"id": "", "email": email, "role": "developer", "status": "active", "monthly_credit_limit": 500},
        **{"daily_credit_limit": None, "spent_this_month": 0, "spent_today": 0, "created": ""},
    }
    assert admin.post(
        path, {"email": email.upper(), "role": "developer", "monthly_credit_limit": 500}, idempotency_key="m"
    ).json == (made.json)
    one = f"{path}{member['id']}/"
    assert admin.get(one).json == member
    assert admin.get(f"{path}{email}/").json == member
    secret = create_key(account.id, "k", KeyOptions(), member=member["id"], origin=ORIGIN).secret

    def call() -> int:
        return stack.request("GET", "/api/key/", None, {"authorization": f"Bearer {secret}"}).status

    assert call() == 200
    assert admin.patch(one, {"status": "suspended"}).json["status"] == "suspended"
    assert call() == 403
    changed = admin.patch(one, {"status": "active", "role": "admin", "monthly_credit_limit": None, "daily_credit_limit": 9}).json
    assert (changed["status"], changed["role"]) == ("active", "admin")
    assert (changed["monthly_credit_limit"], changed["daily_credit_limit"]) == (None, 9)
    assert call() == 200
    assert admin.delete(one).json == {"id": member["id"], "deleted": True}
    assert call() == 401
    assert admin.get(one).status == 404
    assert admin.delete(one).status == 404
    rows = AuditEntry.select().where((AuditEntry.target == str(account.id)) & (AuditEntry.actor == admin.actor))
    assert [row.action for row in rows.order_by(AuditEntry.id)] == [
        *("member.add", "member.suspend", "member.change", "member.resume", "member.remove"),
    ]


def test_lists_are_pages(admin: AdminClient) -> None:
    account = factories.account()
    path = f"/accounts/{account.id}/members/"
    added = [admin.post(path, {"email": address(), "role": "viewer"}).json["id"] for _ in range(3)]
    first = admin.get(f"{path}?limit=3").json
    second = admin.get(f"{path}?limit=3&after={first['next']}").json
    assert [row["id"] for row in (*first["members"], *second["members"])] == [str(account.id), *added]
    assert [row["role"] for row in first["members"]] == ["owner", "viewer", "viewer"]
    assert second["next"] is None


def test_ownership_is_transferred(admin: AdminClient) -> None:
    account, email = factories.account(), address()
    path = f"/accounts/{account.id}/members/"
    member = admin.post(path, {"email": email, "role": "admin"}).json["id"]
    assert admin.post(f"{path}{member}/transfer/").json["role"] == "owner"
    assert admin.get(f"/accounts/{account.id}/").json["email"] == email
    assert {row["email"]: row["role"] for row in admin.get(path).json["members"]} == {email: "owner", account.email: "admin"}


@pytest.mark.parametrize(
    ("method", "body", "param"),
    [
        ("POST", {"email": "new@example.com"}, "role"),
        ("POST", {"email": "new@example.com", "role": "owner"}, "role"),
        ("POST", {"email": "new@example.com", "role": "viewer", "monthly_credit_limit": 0}, "monthly_credit_limit"),
        ("POST", {"email": "no address", "role": "viewer"}, None),
        ("PATCH", {"role": None}, "role"),
        ("PATCH", {"status": "removed"}, "status"),
        ("PATCH", {"email": "new@example.com"}, "email"),
    ],
)
def test_invalid_requests_name_the_field(admin: AdminClient, method: str, body: Any, param: str | None) -> None:
    account = factories.account()
    path = f"/accounts/{account.id}/members/"
    reply = admin.request(method, path if method == "POST" else f"{path}{account.id}/", body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body


def test_the_owner_and_other_accounts_members(admin: AdminClient) -> None:
    account, other = factories.account(), factories.account()
    owner = f"/accounts/{account.id}/members/{account.id}/"
    assert [admin.patch(owner, {"role": "viewer"}).status, admin.delete(owner).status] == [400, 400]
    for id in (str(other.id), str(new_id()), other.email, "x"):
        path = f"/accounts/{account.id}/members/{id}/"
        replies = [admin.get(path), admin.patch(path, {"role": "viewer"}), admin.delete(path), admin.post(f"{path}transfer/")]
        assert {(reply.status, reply.error["message"]) for reply in replies} == {(404, "There is no such member.")}
