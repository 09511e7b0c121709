"""Listing, creating and changing the keys of an account with one of them."""

from __future__ import annotations

from typing import Any

import pytest

from edge.api.keys import MAX_KEYS
from shared.core.billing_periods import next_month_start
from shared.core.clock import new_id, now_ms
from shared.core.timestamps import format_timestamp, parse_timestamp
from shared.identity.api_key_format import new_key
from shared.models import ApiKey, AuditEntry, UsageLedger
from shared.operations.keys import LIMIT_FIELDS, create_key
from tests import factories
from tests.edge.api.conftest import ApiStack, Customer
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import stream

PATH = "/api/chat/keys/"


def listed(customer: Customer) -> dict[str, dict[str, Any]]:
    """The account's keys by name."""
    answer = customer.get(PATH)
    assert answer.status == 200
    return {key["name"]: key for key in answer.json["keys"]}


def create(customer: Customer, name: str = "production", **fields: Any) -> dict[str, Any]:
    answer = customer.post(PATH, {"name": name, **fields})
    assert answer.status == 201, answer.body
    document: dict[str, Any] = answer.json
    return document


def row_of(customer: Customer) -> ApiKey:
    """The row of the customer's first key."""
    found: ApiKey = ApiKey.select().where(ApiKey.account == customer.account.id).order_by(ApiKey.id).first()
    return found


@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
def test_a_created_key_works_immediately(customer: Customer, path: str) -> None:
    answer = customer.post(path, {"name": "production"})
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["x-ratelimit-remaining-requests"]) > 0
    key = answer.json
    assert key["prefix"] == key["secret"][:9] + "…"
    assert (key["name"], key["last_used"], key["expires_at"]) == ("production", None, None)
    assert key["limits"] == dict.fromkeys(LIMIT_FIELDS)
    assert customer.with_key(key["secret"]).stream().status == 200


def test_a_created_key_is_listed_with_its_limits(customer: Customer) -> None:
    limits = {"rpm": 5, "tpm": 500, "concurrency": 2, "monthly_credit_limit": 9_000}
    limits |= {"allowed_models": ["m-1"], "allowed_ips": ["127.0.0.1"]}
    expires_at = format_timestamp(now_ms() + 3_600_000)
    document = create(customer, expires_at=expires_at, **limits)
    secret = document.pop("secret")
    assert document["expires_at"] == expires_at
    assert document["limits"] == {**limits, "daily_credit_limit": None, "allowed_ips": ["127.0.0.1/32"]}
    assert listed(customer)["production"] == document
    refused = customer.with_key(secret).stream(model="m-2")
    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    assert customer.with_key(secret).stream().headers["x-ratelimit-limit-requests"] == "5"


def test_the_list_has_only_active_keys_and_no_secrets(customer: Customer) -> None:
    customer.shop.customer()
    secret = create(customer)["secret"]
    expired = create_key(customer.account.id, "expired", origin=ORIGIN).row
    ApiKey.update(expires_at=now_ms() - 1).where(ApiKey.id == expired.id).execute()
    revoked = create(customer, "revoked")["id"]
    customer.post(f"{PATH}{revoked}/revoke/")
    body = customer.get(PATH).body.decode()
    assert list(listed(customer)) == ["test", "production"]
    for hidden in (secret, customer.secret, *(row.digest for row in ApiKey.select())):
        assert hidden not in body


def test_last_used_is_the_time_of_the_last_call(customer: Customer) -> None:
    assert listed(customer)["test"]["last_used"] is None
    secret = create(customer)["secret"]
    assert customer.stream().status == 200
    first = customer.usage().created_at
    assert listed(customer)["test"]["last_used"] == format_timestamp(first)
    assert customer.stream().status == 200
    rows = UsageLedger.select().where(UsageLedger.account == customer.account.id)
    eventually(lambda: rows.clone().count() == 2, "the second call is settled")
    keys = listed(customer)
    assert parse_timestamp(keys["test"]["last_used"]) == max(row.created_at for row in rows.clone()) >= first
    assert keys["production"]["last_used"] is None
    assert customer.with_key(secret).stream().status == 200
    assert listed(customer)["production"]["last_used"] is not None


# Revoking


@pytest.mark.parametrize("slash", ["/", ""])
def test_a_revoked_key_is_rejected_on_the_next_request(customer: Customer, slash: str) -> None:
    key = create(customer)
    other = customer.with_key(key["secret"])
    assert other.stream().status == 200
    answer = customer.post(f"{PATH}{key['id']}/revoke{slash}")
    assert answer.status == 200
    assert answer.json["id"] == key["id"]
    for refused in (other.stream(), other.get(PATH), other.post(PATH, {"name": "x"}), other.get("/api/chat/limit/")):
        assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert customer.post(f"{PATH}{key['id']}/revoke/").json == answer.json  # the time of the first revocation stays


def test_a_key_may_revoke_itself(customer: Customer) -> None:
    assert customer.post(f"{PATH}{row_of(customer).id}/revoke/").status == 200
    assert customer.get(PATH).status == 401


def test_a_key_of_another_account_is_not_found(api: ApiStack, customer: Customer) -> None:
    other_customer = api.customer()
    theirs = str(row_of(other_customer).id)
    answers = [customer.post(f"{PATH}{id}/revoke/") for id in (theirs, str(new_id()), "none", "%C3%A9")]
    assert {answer.status for answer in answers} == {404}
    assert {answer.error["code"] for answer in answers} == {"not_found"}
    assert len({answer.body for answer in answers}) == 1
    headers = [{k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")} for answer in answers]
    assert all(found == headers[0] for found in headers)
    assert customer.post(f"{PATH}%00/revoke/").status == 404  # no path may contain NUL
    assert other_customer.get(PATH).status == 200


# Permissions of created keys


def test_created_keys_inherit_the_creators_limits(api: ApiStack) -> None:
    customer = api.customer(rpm=50, allowed_models=["m-1"], allowed_ips=["127.0.0.0/8"], can_manage=True)
    child = create(customer)
    assert child["limits"]["rpm"] == 50
    assert child["limits"]["allowed_models"] == ["m-1"]
    assert child["limits"]["allowed_ips"] == ["127.0.0.0/8"]
    assert (child["can_manage"], child["created_by"]) == (False, str(row_of(customer).id))
    wider = {"rpm": 51, "allowed_models": ["m-1", "m-2"], "allowed_ips": ["0.0.0.0/0"], "can_manage": True}
    for field, value in wider.items():
        refused = customer.post(PATH, {"name": "wider", field: value})
        assert (refused.status, refused.error["param"]) == (400, field)
    assert list(listed(customer)) == ["test", "production"]


def test_a_key_without_the_permission_manages_only_itself(api: ApiStack) -> None:
    customer = api.customer()
    main, limited = row_of(customer), create(customer, "limited", monthly_credit_limit=30)
    other = customer.with_key(limited["secret"])
    for refused in (
        other.post(PATH, {"name": "more"}),
        other.request("PATCH", f"{PATH}{limited['id']}/", {"monthly_credit_limit": 3_000}),
        other.post(f"{PATH}{main.id}/revoke/"),
        other.post(f"{PATH}{new_id()}/revoke/"),
        other.post("/api/chat/purge/"),
    ):
        assert (refused.status, refused.error["code"]) == (403, "insufficient_scope")
        assert refused.headers["x-should-retry"] == "false"
    assert list(listed(other)) == ["limited"]
    assert other.post(f"{PATH}{limited['id']}/revoke/").status == 200
    assert other.get(PATH).status == 401
    assert customer.get(PATH).status == 200


def test_a_limited_key_manages_only_keys_it_created(api: ApiStack) -> None:
    customer = api.customer(rpm=50, can_manage=True)
    stranger = str(factories.api_key(customer.account, "of a person")[0].id)
    child = create(customer, "child")
    assert list(listed(customer)) == ["test", "child"]
    assert customer.post(f"{PATH}{stranger}/revoke/").status == 404
    assert customer.request("PATCH", f"{PATH}{stranger}/", {"name": "taken"}).status == 404
    assert customer.request("PATCH", f"{PATH}{child['id']}/", {"rpm": 60}).error["param"] == "rpm"
    assert customer.request("PATCH", f"{PATH}{row_of(customer).id}/", {"rpm": None}).json["limits"]["rpm"] == 50
    assert customer.request("PATCH", f"{PATH}{child['id']}/", {"rpm": 5}).json["limits"]["rpm"] == 5


def test_a_key_and_the_keys_it_created_share_one_rate_limit(api: ApiStack) -> None:
    customer = api.customer(rpm=4, can_manage=True)
    children = [customer.with_key(create(customer, name)["secret"]) for name in ("one", "two")]  # uses two of the four requests
    assert [child.stream().status for child in children] == [200, 200]
    for caller in (customer, *children):
        refused = caller.stream()
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")


def test_created_keys_share_the_creators_monthly_limit(api: ApiStack) -> None:
    customer = api.customer(monthly_credit_limit=38, can_manage=True)
    children = [customer.with_key(create(customer, f"key {number}")["secret"]) for number in range(4)]
    api.upstream.script(*[stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)] * 2)
    statuses = [child.stream(max_tokens=3).status for child in children]
    assert statuses == [200, 200, 402, 402]  # 13 credits each; the remaining 12 do not cover a third call
    assert customer.stream(max_tokens=3).status == 402


def test_a_key_is_edited(customer: Customer) -> None:
    key = create(customer, rpm=5, monthly_credit_limit=100)
    answer = customer.request(
        "PATCH", f"{PATH}{key['id']}/", {"name": "staging", "rpm": 7, "monthly_credit_limit": None, "allowed_models": ["m-1"]}
    )
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    expected = {**key["limits"], "rpm": 7, "monthly_credit_limit": None, "allowed_models": ["m-1"]}
    assert (answer.json["name"], answer.json["limits"]) == ("staging", expected)
    assert listed(customer)["staging"]["limits"] == expected
    assert customer.with_key(key["secret"]).stream().headers["x-ratelimit-limit-requests"] == "7"
    assert customer.with_key(key["secret"]).stream(model="m-2").error["code"] == "model_not_allowed"
    for body, param in (({}, None), ({"name": ""}, "name"), ({"digest": "x"}, "digest"), ({"can_manage": 1}, "can_manage")):
        refused = customer.request("PATCH", f"{PATH}{key['id']}/", body)
        assert (refused.status, refused.error["param"]) == (400, param)
    assert customer.request("PATCH", f"{PATH}{new_id()}/", {"name": "x"}).status == 404
    customer.post(f"{PATH}{key['id']}/revoke/")
    assert "revoked" in customer.request("PATCH", f"{PATH}{key['id']}/", {"name": "x"}).error["message"]


def test_an_unknown_field_is_named(customer: Customer) -> None:
    answer = customer.post(PATH, {"name": "x", "budget": 5})
    assert (answer.status, answer.error["param"]) == (400, "budget")


def test_a_key_stops_at_its_monthly_credit_limit(customer: Customer) -> None:
    customer.shop.upstream.script(stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE))
    limited = customer.with_key(create(customer, "limited", monthly_credit_limit=40)["secret"])
    assert '"credits_charged":13' in limited.stream(max_tokens=10).body.decode()
    key = listed(customer)["limited"]
    assert (key["spent_this_month"], key["limits"]["monthly_credit_limit"]) == (13, 40)
    assert listed(customer)["test"]["spent_this_month"] == 0
    refused = limited.stream(max_tokens=20)
    assert (refused.status, refused.error["code"]) == (402, "insufficient_credits")
    assert refused.headers["x-should-retry"] == "false"
    assert "limit is 40 credits a month, of which 27 remain" in refused.error["message"]
    assert refused.json["yout"]["required"] > 27
    assert customer.stream(max_tokens=20).status == 200


@pytest.mark.parametrize("body", [None, b"", b"{", b"[1]", b"\xff"])
def test_a_body_must_be_an_object(customer: Customer, body: bytes | None) -> None:
    answer = customer.post(PATH, body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_the_audit_entry_names_the_acting_key(customer: Customer) -> None:
    key = create(customer)
    customer.post(f"{PATH}{key['id']}/revoke/")
    prefix = row_of(customer).prefix
    entries = AuditEntry.select().where(AuditEntry.target == key["id"]).order_by(AuditEntry.id)
    assert [(entry.action, entry.actor, entry.address) for entry in entries] == [
        ("key.create", f"key:{prefix}", "127.0.0.1"),
        ("key.revoke", f"key:{prefix}", "127.0.0.1"),
    ]
    assert key["secret"] not in repr([(entry.before, entry.after) for entry in entries])


def test_the_number_of_keys_is_limited(customer: Customer) -> None:
    for number in range(MAX_KEYS - 1):
        factories.api_key(customer.account, f"key {number}")
    refused = customer.post(PATH, {"name": "one too many"})
    assert (refused.status, refused.error["code"]) == (400, "invalid_request")
    assert str(MAX_KEYS) in refused.error["message"]
    customer.post(f"{PATH}{ApiKey.get(ApiKey.name == 'key 0', ApiKey.account == customer.account.id).id}/revoke/")
    assert create(customer, "in its place")["name"] == "in its place"


def test_creating_keys_counts_as_requests(api: ApiStack) -> None:
    customer = api.customer(rpm=1, can_manage=True)
    create(customer)
    refused = customer.post(PATH, {"name": "x"})
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert customer.get(PATH).status == 200


def test_other_methods_are_rejected(customer: Customer) -> None:
    answer = customer.request("DELETE", PATH)
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert customer.get(f"{PATH}{new_id()}/revoke/").status == 405


def test_the_calling_key_is_described(customer: Customer) -> None:
    earliest = next_month_start(now_ms())
    document = customer.get("/api/key/").json
    assert (document["name"], document["prefix"]) == ("test", row_of(customer).prefix)
    assert "secret" not in document
    assert (document["spent_this_month"], document["spent_total"], document["left_this_month"]) == (0, 0, None)
    assert document["limits"] == dict.fromkeys(LIMIT_FIELDS)
    assert document["rate_limits"] == customer.get("/api/chat/limit/").json["rate_limits"]
    assert parse_timestamp(document["resets_at"]) in (earliest, next_month_start(now_ms()))  # the month can end in between
    assert customer.get("/api/key").json == document


def test_the_calling_key_states_what_it_may_still_spend(customer: Customer, api: ApiStack) -> None:
    row, secret = factories.api_key(customer.account, monthly_credit_limit=1_000, can_manage=True, rpm=50)
    limited = customer.with_key(secret)
    child = limited.with_key(create(limited, monthly_credit_limit=400)["secret"])
    for caller in (limited, child):
        api.upstream.script(stream(role(), chunk("Hi"), finish(), usage(10, 20), DONE))
        assert caller.stream().status == 200
    UsageLedger.create(
        account=customer.account, api_key=row.id, model="m-1", price=new_id(), status="completed", streamed=True, credits=7,
        created_at=1,
    )  # fmt: skip
    own, of_child = limited.get("/api/key/").json, child.get("/api/key/").json
    assert (own["spent_this_month"], own["spent_total"], own["left_this_month"]) == (100, 107, 900)
    assert (of_child["spent_this_month"], of_child["spent_total"], of_child["left_this_month"]) == (50, 50, 350)
    assert own["rate_limits"]["requests_per_minute"] == 50
    ApiKey.update(monthly_credit_limit=120).where(ApiKey.id == row.id).execute()
    assert child.get("/api/key/").json["left_this_month"] == 20


def test_only_a_key_has_a_calling_key(api: ApiStack) -> None:
    assert api.request("GET", "/api/key/").status == 401
    assert api.request("GET", "/api/key/", headers={"authorization": f"Bearer {new_key().secret}"}).status == 401


def test_changes_by_a_key_are_audited_under_its_name(customer: Customer) -> None:
    id = create(customer)["id"]
    expires_at = format_timestamp(now_ms() + 3_600_000)
    changes = {"name": "staging", "rpm": 5, "monthly_credit_limit": 9, "allowed_models": ["m-1"], "allowed_ips": ["10.0.0.1"]}
    answer = customer.request("PATCH", f"{PATH}{id}/", {**changes, "expires_at": expires_at})
    assert answer.status == 200, answer.body
    entry = AuditEntry.get((AuditEntry.action == "key.update") & (AuditEntry.target == id))
    assert (entry.actor, entry.address) == (f"key:{row_of(customer).prefix}", "127.0.0.1")
    stored = {**changes, "allowed_ips": ["10.0.0.1/32"], "expires_at": parse_timestamp(expires_at)}
    assert (entry.before, entry.after) == ({**dict.fromkeys(stored), "name": "production"}, stored)
