"""API keys of accounts in the administration API."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import new_id
from shared.models import ApiKey, AuditEntry
from shared.operations.members import MemberTerms, add_member
from tests import factories
from tests.edge.admin.conftest import AdminClient, AdminStack
from tests.factories import ORIGIN


def test_the_life_of_a_key(admin: AdminClient, stack: AdminStack) -> None:
    account = factories.account()
    path = f"/accounts/{account.id}/keys/"
    body = {"name": "production", "rpm": 7, "expires_at": "2999-01-31T09:30:00Z"}
    made = admin.post(path, body, idempotency_key="one")
    assert made.status == 201, made.body
    assert admin.post(path, body, idempotency_key="one").json == made.json  # its secret, too
    secret = made.json["secret"]
    key = {name: value for name, value in made.json.items() if name != "secret"}
    assert (key["name"], key["account"], key["member"]) == ("production", str(account.id), str(account.id))
    assert (key["limits"]["rpm"], key["expires_at"], key["revoked_at"]) == (7, "2999-01-31T09:30:00.000Z", None)
    assert (key["can_manage"], key["created_by"], key["last_used"]) == (False, None, None)
    one = f"{path}{key['id']}/"
    assert admin.get(one).json == key

    def call() -> int:
        return stack.request("GET", "/api/key/", None, {"authorization": f"Bearer {secret}"}).status

    assert call() == 200
    changed = admin.patch(one, {"name": "staging", "rpm": None, "daily_credit_limit": 50, "expires_at": None}).json
    assert (changed["name"], changed["limits"]["rpm"], changed["limits"]["daily_credit_limit"]) == ("staging", None, 50)
    assert changed["expires_at"] is None
    revoked = admin.delete(one)
    assert (revoked.status, revoked.json["revoked_at"] is not None) == (200, True)
    assert call() == 401
    assert admin.delete(one).json == revoked.json
    assert admin.get(one).json == revoked.json
    assert admin.patch(one, {"name": "late"}).status == 400
    assert ApiKey.select().where(ApiKey.account == account.id).count() == 1
    rows = AuditEntry.select().where(AuditEntry.target == key["id"]).order_by(AuditEntry.id)
    assert [(row.action, row.actor) for row in rows] == [
        (action, admin.actor) for action in ("key.create", "key.update", "key.revoke")
    ]
    assert secret not in str([(row.before, row.after) for row in rows])


def test_a_key_can_be_a_members(admin: AdminClient) -> None:
    account = factories.account()
    member = add_member(account.id, f"k-{new_id().hex}@example.com", MemberTerms("developer"), origin=ORIGIN).member
    made = admin.post(f"/accounts/{account.id}/keys/", {"name": "ben", "member": member.person.email}).json
    assert (made["member"], made["can_manage"]) == (str(member.id), True)
    assert admin.post(f"/accounts/{account.id}/keys/", {"name": "x", "member": str(new_id())}).status == 404


def test_lists_are_pages_and_can_be_filtered(admin: AdminClient) -> None:
    account = factories.account()
    path = f"/accounts/{account.id}/keys/"
    ids = [admin.post(path, {"name": f"k{number}"}).json["id"] for number in range(4)]
    admin.delete(f"{path}{ids[1]}/")
    first = admin.get(f"{path}?limit=3").json
    second = admin.get(f"{path}?limit=3&after={first['next']}").json
    assert [row["id"] for row in (*first["keys"], *second["keys"])] == ids
    assert second["next"] is None
    assert [row["id"] for row in admin.get(f"{path}?status=revoked").json["keys"]] == [ids[1]]
    assert [row["id"] for row in admin.get(f"{path}?status=active").json["keys"]] == [ids[0], *ids[2:]]
    assert "secret" not in first["keys"][0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x", "rpm": 0}, "rpm"),
        ({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "allowed_models": ["no-such-model"]}, "allowed_models"),
        ({"name": "x", "allowed_ips": ["here"]}, "allowed_ips"),
        ({"name": "x", "secret": "yout-mine"}, "secret"),
    ],
)
def test_invalid_requests_name_the_field(admin: AdminClient, body: Any, param: str) -> None:
    reply = admin.post(f"/accounts/{factories.account().id}/keys/", body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body


def test_keys_of_other_accounts_are_unknown(admin: AdminClient) -> None:
    account, (other, _) = factories.account(), factories.api_key(factories.account())
    for id in (str(other.id), str(new_id()), "x"):
        path = f"/accounts/{account.id}/keys/{id}/"
        replies = [admin.get(path), admin.patch(path, {"name": "x"}), admin.delete(path)]
        assert {(reply.status, reply.error["message"]) for reply in replies} == {(404, "No such key of this account.")}
    assert ApiKey.get_by_id(other.id).revoked_at is None
