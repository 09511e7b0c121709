"""Changes that staff make through forms: the row, the audit entry, the confirmation, and a second submission."""

from __future__ import annotations

import pytest

from shared.billing.rates import Rate
from shared.core.clock import now_ms
from shared.core.secrets import unseal
from shared.ledger.verify import verify_ledger
from shared.models import Account, AIModel, ApiKey, AuditEntry, CatalogVersion, Channel, LedgerEntry, Price, PriceDraft
from shared.operations.audit import Origin
from shared.operations.prices import Rates, rates_of, set_price
from shared.operations.prices_in_force import current_price
from tests import factories
from tests.servers.edge import SECRET_KEY

THIN = "\u202f"


def last_entry(action: str) -> AuditEntry:
    """The newest audit entry of this action; asserts that it names the signed-in staff member and their IP address."""
    entry = AuditEntry.select().where(AuditEntry.action == action).order_by(AuditEntry.id.desc()).first()
    assert entry is not None, f"no audit entry {action}"
    assert (entry.actor, entry.address) == ("owner@yout.example", "127.0.0.1")
    return entry


def test_a_grant_writes_one_ledger_entry_and_one_audit_entry(signed_in):
    account = factories.account(credits=1_000)
    page = f"/accounts/{account.id}"
    answer = signed_in("owner").submit_form(page, f"{page}/credits", amount=f" 50{THIN}000 ", reason="Goodwill")
    assert f"50{THIN}000 credits granted to {account.email}. New balance: 51{THIN}000." in answer.text
    entry = LedgerEntry.get(LedgerEntry.seq == 2)
    assert (entry.kind, entry.amount, entry.balance_after, entry.reason) == ("grant", 50_000, 51_000, "Goodwill")
    assert entry.actor == "owner@yout.example"
    audit = last_entry("credits.grant")
    assert (audit.before, audit.after["balance"]) == ({"balance": 1_000}, 51_000)
    assert verify_ledger(now_ms()).problems == ()


def test_a_negative_amount_deducts_credits(signed_in):
    account = factories.account(credits=1_000)
    page = f"/accounts/{account.id}"
    answer = signed_in("owner").submit_form(page, f"{page}/credits", amount="\u2212200", reason="Granted by mistake")
    assert f"200 credits deducted from {account.email}" in answer.text
    assert Account.get_by_id(account.id).balance == 800
    assert last_entry("credits.adjustment").after["amount"] == -200


def test_a_form_submitted_twice_adjusts_credits_once(signed_in):
    account = factories.account(credits=1_000)
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    filled = {**browser.form(page, f"{page}/credits"), "amount": "500", "reason": "Goodwill"}
    for _ in range(2):
        answer = browser.post(f"{page}/credits", filled, follow_redirects=True)
    assert "Only the first submission counts" in answer.text
    other = browser.post(f"{page}/credits", {**filled, "amount": "900"})
    assert (other.status_code, "This form was already used" in other.text) == (422, True)
    assert Account.get_by_id(account.id).balance == 1_500
    assert LedgerEntry.select().count() == 2
    assert AuditEntry.select().where(AuditEntry.action == "credits.grant").count() == 1


def test_a_rejected_grant_can_be_corrected_on_the_same_form(signed_in):
    account = factories.account(credits=100)
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    filled = {**browser.form(page, f"{page}/credits"), "amount": "-500", "reason": "Too much"}
    refused = browser.post(f"{page}/credits", filled)
    assert (refused.status_code, "Only 100" in refused.text, 'value="-500"' in refused.text) == (422, True, True)
    assert browser.post(f"{page}/credits", {**filled, "amount": "-50"}).status_code == 303
    assert Account.get_by_id(account.id).balance == 50


@pytest.mark.parametrize("amount", ["", "0", "1,000", "1.5", "1e6", "ten", "9" * 17, "9" * 40])
def test_an_unusable_amount_is_rejected_with_an_explanation(signed_in, amount):
    account = factories.account(credits=100)
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    answer = browser.submit_form(page, f"{page}/credits", amount=amount, reason="x")
    assert answer.status_code == 422
    assert "whole number" in answer.text or "must not be 0" in answer.text
    assert LedgerEntry.select().count() == 1


def test_a_grant_needs_a_reason(signed_in):
    account = factories.account(credits=100)
    page = f"/accounts/{account.id}"
    answer = signed_in("owner").submit_form(page, f"{page}/credits", amount="5", reason="  ")
    assert answer.status_code == 422
    assert LedgerEntry.select().count() == 1


def test_an_account_is_suspended_and_activated(signed_in):
    account = factories.account()
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    assert "is suspended" in browser.submit_form(page, f"{page}/suspend").text
    assert Account.get_by_id(account.id).status == "suspended"
    assert last_entry("account.status").after == {"status": "suspended"}
    assert "is active" in browser.submit_form(page, f"{page}/activate").text
    assert Account.get_by_id(account.id).status == "active"


def test_revoking_a_key_requires_typing_its_name(signed_in):
    row, _ = factories.api_key(factories.account(), name="production")
    browser, page = signed_in("owner"), f"/keys/{row.id}"
    wrong = browser.submit_form(page, f"{page}/revoke", confirmation="staging")
    assert (wrong.status_code, "The name does not match" in wrong.text) == (422, True)
    assert ApiKey.get_by_id(row.id).revoked_at is None
    answer = browser.submit_form(page, f"{page}/revoke", confirmation="production")
    assert f"Key {row.prefix} revoked. Requests with it are rejected." in answer.text
    assert ApiKey.get_by_id(row.id).revoked_at is not None
    assert last_entry("key.revoke").target == str(row.id)


RATES = {"input": "1", "output": "1", "cached_input": "", "cache_write": "", "per_call": "0", "minimum": "0"}


def test_a_price_is_drafted_compared_and_published_and_the_old_row_stays(signed_in):
    factories.model("m/1", input=100, output=300)
    version = CatalogVersion.get().version
    browser = signed_in("billing")
    drafted = browser.submit_form(
        "/models/id/m/1", "/models/id/m/1/draft", **{**RATES, "input": f"1{THIN}500", "output": "4000", "minimum": "10"}
    )
    assert "Draft saved." in drafted.text
    assert f"1{THIN}500" in drafted.text
    assert Price.select().count() == 1
    answer = browser.submit_form("/models/id/m/1", "/models/id/m/1/draft/publish", effective_at="")
    assert "The new price of m/1 is in effect." in answer.text
    old, new = Price.select().order_by(Price.effective_at)
    assert (old.credits_per_1k_input, new.credits_per_1k_input, new.credits_per_1k_output) == (100, 1_500, 4_000)
    assert new.credits_per_1k_cached_input is None
    assert AuditEntry.get(AuditEntry.action == "price.set").after["input"] == 1_500
    assert CatalogVersion.get().version > version
    assert not PriceDraft.select().exists()


def test_further_rates_are_drafted_compared_and_published(signed_in):
    factories.model("m", input=1, output=1)
    browser = signed_in("billing")
    more = {"audio_input": "7", "web_search": "9", "more_rates": "input@200000=2\n tier:flex = 500 "}
    drafted = browser.submit_form("/models/id/m", "/models/id/m/draft", **RATES, **more)
    assert "Input above 200" in drafted.text
    browser.submit_form("/models/id/m", "/models/id/m/draft/publish", effective_at="")
    rates = (Rate("audio_input", 0, 7), Rate("input", 200_000, 2), Rate("tier:flex", 0, 500), Rate("web_search", 0, 9))
    assert rates_of(current_price("m")).rates == rates
    page = browser.get("/models/id/m").text
    assert "Service tier flex" in page
    for filled in (
        'name="audio_input" type="text" value="7"',
        'name="web_search" type="text" value="9"',
        ">\r\ninput@200000=2\n",
    ):
        assert filled in page, filled  # a new draft begins with the price in force


@pytest.mark.parametrize(
    "more_rates",
    [
        "input",
        "sound=1",
        "tier:=1",
        "input@200000=-1",
        "output@9=0",
        "cache_write@9=1",
        "audio_input@9=1",
        "input@9=5\ninput@9=6",
    ],
)
def test_impossible_rates_are_refused(signed_in, more_rates):
    factories.model("m", input=1, output=1)
    refused = signed_in("billing").submit_form("/models/id/m", "/models/id/m/draft", **RATES, more_rates=more_rates)
    assert refused.status_code == 422
    assert not PriceDraft.select().exists()


def test_a_parameter_is_allowed_for_a_channel_with_its_worst_case(signed_in):
    made = factories.channel("https://example.com/v1", settings={"provider": "acme"})
    browser, page = signed_in("owner"), f"/channels/{made.id}"
    assert browser.submit_form(page, f"{page}/allow", parameter="plugins", worst_case="").status_code == 422
    assert "0.02 USD" in browser.submit_form(page, f"{page}/allow", parameter="plugins", worst_case="0.02 USD a call").text
    assert Channel.get().settings == {"provider": "acme", "allowed_parameters": {"plugins": "0.02 USD a call"}}
    assert last_entry("channel.allow").after == {"allowed_parameters": {"plugins": "0.02 USD a call"}}
    assert "None allowed." in browser.submit_form(page, f"{page}/disallow", parameter="plugins").text
    assert Channel.get().settings == {"provider": "acme"}
    refused = browser.submit_form(page, f"{page}/edit", settings='{"allowed_parameters": {"plugins": ""}}')
    assert (refused.status_code, "worst" in refused.text) == (422, True)


def test_a_price_may_start_in_the_future_but_not_in_the_past(signed_in):
    factories.model("m", input=100)
    browser = signed_in("owner")
    browser.submit_form("/models/id/m", "/models/id/m/draft", **RATES)
    assert browser.submit_form("/models/id/m", "/models/id/m/draft/publish", effective_at="2020-01-01T00:00").status_code == 422
    for wrong in ("tomorrow", "9999-12-31T23:59-14:00"):
        assert browser.submit_form("/models/id/m", "/models/id/m/draft/publish", effective_at=wrong).status_code == 422
    page = browser.submit_form("/models/id/m", "/models/id/m/draft/publish", effective_at="2090-01-31T09:30")
    assert "takes effect at 2090-01-31 09:30 UTC" in page.text
    assert Price.select().order_by(Price.effective_at.desc()).get().effective_at == 3_789_538_200_000
    assert current_price("m").credits_per_1k_input == 100


def test_publishing_over_a_price_that_changed_meanwhile_is_rejected(signed_in):
    factories.model("m", input=100)
    browser = signed_in("owner")
    browser.submit_form("/models/id/m", "/models/id/m/draft", **RATES)
    filled = {**browser.form("/models/id/m", "/models/id/m/draft/publish"), "effective_at": ""}
    set_price("m", Rates(700, 700), origin=Origin("a colleague"))
    answer = browser.post("/models/id/m/draft/publish", filled)
    assert (answer.status_code, "has changed since" in answer.text) == (422, True)
    assert current_price("m").credits_per_1k_input == 700
    assert browser.submit_form("/models/id/m", "/models/id/m/draft/publish", effective_at="").status_code == 200
    assert browser.post("/models/id/m/draft/publish", filled).status_code == 404  # second submission


def test_a_draft_that_changed_meanwhile_is_not_published_but_can_be_discarded(signed_in):
    factories.model("m", input=100)
    browser = signed_in("owner")
    browser.submit_form("/models/id/m", "/models/id/m/draft", **RATES)
    filled = {**browser.form("/models/id/m", "/models/id/m/draft/publish"), "effective_at": ""}
    browser.submit_form("/models/id/m", "/models/id/m/draft", **{**RATES, "output": "9"})
    assert browser.post("/models/id/m/draft/publish", filled).status_code == 422
    browser.submit_form("/models/id/m", "/models/id/m/draft/discard")
    assert not PriceDraft.select().exists()
    assert Price.select().count() == 1


@pytest.mark.parametrize("missing", ["input", "output", "per_call", "minimum"])
def test_a_price_requires_amounts(signed_in, missing):
    factories.model("m")
    filled = {name: value for name, value in RATES.items() if name != missing}
    assert signed_in("owner").submit_form("/models/id/m", "/models/id/m/draft", **filled).status_code == 422
    assert not PriceDraft.select().exists()


def test_a_model_is_disabled_and_enabled(signed_in):
    factories.model("m")
    browser = signed_in("owner")
    assert "m disabled." in browser.submit_form("/models/id/m", "/models/id/m/disable").text
    assert AIModel.get_by_id("m").status == "disabled"
    assert last_entry("model.status").target == "m"
    assert "m enabled." in browser.submit_form("/models/id/m", "/models/id/m/enable").text
    assert AIModel.get_by_id("m").status == "active"


def test_a_channel_is_disabled_enabled_and_gets_a_new_secret_that_no_page_shows(signed_in):
    channel = factories.channel("https://up.example/v1", name="up")
    browser, page = signed_in("owner"), f"/channels/{channel.id}"
    assert "New calls stop within a second" in browser.submit_form(page, f"{page}/disable").text
    assert Channel.get_by_id(channel.id).status == "disabled"
    assert "It receives calls within a second" in browser.submit_form(page, f"{page}/enable").text
    answer = browser.submit_form(page, f"{page}/secret", secret="sk-fresh-secret")
    assert "Secret of up replaced." in answer.text
    assert unseal(Channel.get_by_id(channel.id).sealed_secret, SECRET_KEY) == "sk-fresh-secret"
    assert (last_entry("channel.secret").before, last_entry("channel.secret").after) == (None, None)
    refused = browser.submit_form(page, f"{page}/secret", secret="sk-bad\nsecret-part")
    assert refused.status_code == 422
    for text in (answer.text, refused.text, browser.get(page).text, browser.get("/audit/").text):
        assert "sk-fresh" not in text
        assert "secret-part" not in text


def test_an_audit_entry_trusts_forwarded_addresses_only_from_a_trusted_proxy(app, signed_in, make_settings):
    account = factories.account()
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    hidden = browser.form(page, f"{page}/suspend")
    forwarded = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
    browser.post(f"{page}/suspend", hidden, headers=forwarded)
    assert last_entry("account.status").address == "127.0.0.1"
    app.extensions["yout_settings"] = make_settings(trusted_proxies=("127.0.0.0/8",))
    browser.post(f"{page}/activate", hidden, headers=forwarded)
    addresses = [row.address for row in AuditEntry.select().where(AuditEntry.action == "account.status").order_by(AuditEntry.id)]
    assert addresses == ["127.0.0.1", "203.0.113.9"]
