"""The search in the console's header: each kind of identifier, for every role, and unknown ones."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from shared.core.clock import new_id
from shared.core.database import transaction
from shared.ledger import post_entry
from shared.models import STAFF_ROLES, ApiKey, Payment, Subscription
from shared.operations.budgets import BudgetTerms, create_budget
from shared.operations.members import MemberTerms, add_member
from shared.operations.plans import create_plan
from shared.operations.subscriptions import cancel_subscription, subscribe
from tests import factories
from tests.console.conftest import Browser
from tests.console.test_home import figures_of
from tests.console.test_pages import usage_row
from tests.factories import ORIGIN


def found(browser: Browser, text: str) -> list[str]:
    """The paths that a search leads to."""
    answer = browser.get(f"/search/?{urlencode({'q': text})}")
    if answer.status_code == 303:
        return [answer.headers["location"]]
    return re.findall(r'class="row" href="([^"]+)"', answer.text)


def test_every_identifier_is_found_by_every_role(signed_in: Any) -> None:
    channel = factories.channel("https://up.example/v1", name="east")
    factories.model("m/1", channel)
    plan = create_plan("Studio", {}, origin=ORIGIN)
    owner, other = factories.account(email="ada@example.com"), factories.account()
    member = add_member(owner.id, "ben@example.com", MemberTerms("viewer"), origin=ORIGIN).member
    add_member(other.id, "ben@example.com", MemberTerms("viewer"), origin=ORIGIN)
    key, secret = factories.api_key(owner)
    call = usage_row(owner, credits=5)
    Payment.create(provider="stripe", reference="pi_3Abc", account=owner.id, credits=9)
    budget = create_budget(owner.id, "account", "", "month", BudgetTerms(5), origin=ORIGIN)
    account, keys, receipt = f"/accounts/{owner.id}", f"/keys/{key.id}", f"/usage/{call.id}"
    expected = {
        str(owner.id): account, owner.id.hex: account, "ADA@example.com": account, str(budget.id): account,
        "pi_3Abc": "/payments/pi_3Abc",
        str(member.id): f"/members/{owner.id}/{member.id}",
        str(key.id): keys, key.prefix: keys, secret: keys,
        str(call.id): receipt, f"req_{call.id.hex}": receipt, f"chatcmpl-{call.id.hex}": receipt,
        "east": f"/channels/{channel.id}", "m/1": "/models/id/m/1", str(plan.id): f"/plans/{plan.id}",
    }  # fmt: skip
    browsers = [signed_in(role) for role in STAFF_ROLES]
    for text, path in expected.items():
        for browser in browsers:
            [target] = found(browser, text)
            assert target.startswith(path), text
    assert len(found(browsers[0], "ben@example.com")) == 2
    for unknown in (str(new_id()), "nobody@example.com", "yout-0000", "pi_3", "ada@example", "%", "m/", "", "'"):
        assert found(browsers[0], unknown) == [], unknown
    assert secret not in browsers[0].get(f"/search/?q={secret}").headers["location"]
    page = browsers[0].get("/search/?q=x").text
    form = page[page.index('action="/search/find"') :]
    sent = {"q": secret, "csrf_token": form.partition('name="csrf_token" value="')[2].partition('"')[0]}
    assert browsers[0].post("/search/find", sent).headers["location"] == keys
    assert browsers[0].post("/search/find", {"q": secret}).status_code == 400
    ApiKey.update(prefix="yout-same…").execute()
    factories.api_key(owner)
    assert len(found(browsers[0], "yout-same")) == 1


def test_visitors_are_asked_to_sign_in(browser: Browser) -> None:
    assert browser.get("/search/?q=x").status_code == 303


def test_home_shows_top_ups_churn_and_unbilled_overage(signed_in: Any) -> None:
    create_plan("Studio", {"monthly_credits": 10}, origin=ORIGIN)
    accounts = [factories.account() for _ in range(4)]
    for account in accounts:
        subscribe(account.id, "Studio", origin=ORIGIN)
    cancel_subscription(accounts[0].id, "now", origin=ORIGIN)
    Subscription.update(overage_used=250).where(Subscription.account == accounts[1]).execute()
    with transaction():
        post_entry(accounts[2].id, "purchase", 7_000, actor="x", reason="payment")
    figures = figures_of(signed_in("readonly").get("/").text)
    expected = {"Top-ups": "7\u202f000", "Active plans": "3", "Unbilled overage": "250"}
    assert figures.items() >= expected.items()
    assert figures["Churn"].startswith("25")
