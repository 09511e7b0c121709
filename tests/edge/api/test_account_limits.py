"""The remaining credits and limits of a caller."""

from __future__ import annotations

from contextlib import closing

import pytest

from shared.models import Plan, Subscription
from shared.operations.accounts import set_account_status
from tests.edge.api.conftest import CREDITS, ApiStack, Customer
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.upstream_responses import Gate, stream

PATH = "/api/chat/limit/"


@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
def test_an_account_without_a_plan(customer: Customer, path: str) -> None:
    answer = customer.get(path)
    assert answer.status == 200
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["cache-control"] == "no-store"
    rates = answer.json.pop("rate_limits")
    assert {name: type(value) for name, value in rates.items()} == dict.fromkeys(
        ("requests_per_minute", "tokens_per_minute", "concurrency"), int
    )
    result = {name: value for name, value in answer.json.items() if name != "rate_limits"}
    assert result == {"kind": "account", "account": str(customer.account.id), "balance": CREDITS, "held": 0, "plan": None}


def test_a_running_call_counts_as_held(customer: Customer) -> None:
    gate = Gate()
    customer.shop.upstream.script(stream(role(), chunk("Hello"), gate, finish(), usage(7, 3), DONE))
    with closing(customer.open(max_tokens=100)) as connection:
        gate.wait_reached()
        assert customer.get(PATH).json["held"] > 100
        gate.open()
        connection.getresponse().read()
    result = customer.get(PATH).json
    assert (result["balance"], result["held"]) == (CREDITS - 13, 0)


def test_plan_limits_and_narrower_key_limits(api: ApiStack) -> None:
    customer = api.customer(rpm=5, tpm=10**9)
    plan = Plan.create(name=f"plan of {customer.account.id}", monthly_credits=7, rpm=50, tpm=500, concurrency=3)
    Subscription.create(account=customer.account, plan=plan, overage_cap=9, overage_used=0, renews_at=1_800_000_000_123)
    result = customer.get(PATH).json
    assert result["rate_limits"] == {"requests_per_minute": 5, "tokens_per_minute": 500, "concurrency": 3}
    assert result["plan"] == {
        "name": plan.name,
        "plan_active": True,
        "renews_at": "2027-01-15T08:00:00.123Z",
        "monthly_credits": 7,
        "overage_cap": 9,
        "overage_used": 0,
        "stores_content": False,
    }
    Subscription.update(status="ended").where(Subscription.account == customer.account).execute()
    assert customer.get(PATH).json["plan"] is None


@pytest.mark.parametrize("path", ["/api/chat/keys/", "/v1/models"])
def test_rejected_callers(api: ApiStack, path: str) -> None:
    nobody = api.request("GET", path, None, {"authorization": "Bearer yout-nobody"})
    assert (nobody.status, nobody.error["code"]) == (401, "invalid_api_key")
    elsewhere = api.customer(allowed_ips=["192.0.2.0/24"]).get(path)
    assert (elsewhere.status, elsewhere.error["code"]) == (403, "ip_not_allowed")
    assert api.customer(allowed_ips=["127.0.0.0/8"]).get(path).status == 200
    suspended = api.customer()
    set_account_status(suspended.account.id, "suspended", origin=ORIGIN)
    refused = suspended.get(path)
    assert (refused.status, refused.error["code"]) == (403, "account_suspended")


def test_a_key_may_be_sent_as_x_api_key(customer: Customer) -> None:
    assert customer.shop.request("GET", PATH, None, {"x-api-key": customer.secret}).status == 200
