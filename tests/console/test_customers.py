"""Plans, redeem codes, and changes to accounts and their keys in the console."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from console.app import create_app
from console.views.redeem_codes import CodesView
from shared.core.clock import now_ms
from shared.core.database import database
from shared.core.formats import NARROW_SPACE
from shared.identity.account_links import PASSWORD, proves, read_token
from shared.ledger.verify import verify_ledger
from shared.mail.outbox import recent_mails
from shared.models import (
    Account,
    AccountNote,
    ApiKey,
    AuditEntry,
    CodeBatch,
    Invitation,
    Member,
    OutgoingMail,
    Plan,
    PurgeJob,
    RedeemCode,
    Subscription,
)
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.email_changes import confirm_change, request_change
from shared.operations.key_rotation import revoke_keys, rotate_key
from shared.operations.keys import create_key, revoke_key
from shared.operations.members import MemberTerms, add_member
from shared.operations.payments import PaymentTerms, set_payment_settings
from shared.operations.plans import create_plan
from shared.operations.redeem_codes import create_codes, redeem
from shared.operations.verification import confirm_email
from shared.operations.web_accounts import sign_up
from tests import factories
from tests.console.conftest import Browser
from tests.factories import ORIGIN

PLAN = {
    "monthly_credits": "5000",
    "rollover_cap": "",
    "price_cents": "1000",
    "rpm": "",
    "tpm": "",
    "concurrency": "",
    "allowed_models": "",
}


def test_a_plan_is_created_edited_assigned_and_removed(signed_in):
    account = factories.account(credits=100)
    browser, page = signed_in("billing"), f"/accounts/{account.id}"
    terms = {**PLAN, "usage_days": "45", "overage_allowed": "y"}
    assert "Plan Pro created." in browser.submit_form("/plans/new", "/plans/new", name="Pro", **terms).text
    plan = Plan.get()
    assert (plan.monthly_credits, plan.rpm, plan.allowed_models, plan.overage_allowed) == (5_000, None, None, True)
    edit = f"/plans/{plan.id}"
    assert "between 30 and" in browser.submit_form(edit, edit, **{**terms, "usage_days": "29"}).text
    assert Plan.get().usage_days == 45
    given = browser.submit_form(page, f"/account/{account.id}/plan", plan="Pro", when="now")
    assert "Subscribed to Pro." in given.text
    assert Account.get().balance == 5_100
    browser.submit_form(page, f"/account/{account.id}/overage", cap=f"2{chr(0x202F)}000")
    assert Subscription.get().overage_cap == 2_000
    address = f"/plans/{plan.id}"
    browser.submit_form(address, address, **{**PLAN, "rpm": "60"}, overage_allowed="y")
    assert Plan.get().rpm == 60
    limits = re.search(r"<h2>Limits</h2>(.*?)</section>", browser.get(page).text, re.DOTALL).group(1)
    assert (limits.count(">plan<"), limits.count("platform default"), ">60<" in limits) == (1, 2, True)
    assert account.email in browser.get(address).text
    assert "Pro is closed to new subscribers." in browser.submit_form(address, f"{address}/disable").text
    browser.submit_form(page, f"/account/{account.id}/plan/end")
    assert Account.get().balance == 100
    assert verify_ledger(now_ms()).problems == ()


def test_a_subscription_renews_or_ends_with_its_period_and_pauses_while_suspended(signed_in):
    account = factories.account()
    create_plan("Basic", {"monthly_credits": 10}, origin=ORIGIN)
    browser, page, care = signed_in("owner"), f"/accounts/{account.id}", f"/account/{account.id}"
    browser.submit_form(page, f"{care}/plan", plan="Basic", when="now")
    for verb, column, state in (
        ("cancel", "cancelled_at", True),
        ("keep", "cancelled_at", False),
        ("suspend", "suspended_at", True),
        ("resume", "suspended_at", False),
    ):
        browser.submit_form(page, f"{care}/plan/{verb}")
        assert (getattr(Subscription.get(), column) is not None) == state, verb


def test_an_inline_form_shows_its_errors_on_the_page(signed_in):
    account = factories.account()
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    assert "Enter a note." in browser.submit_form(page, f"/account/{account.id}/notes", text="").text
    assert "Type the email." in browser.submit_form(page, f"/account/{account.id}/purge", confirmation="").text


def test_notes_are_saved_deleted_and_escaped(signed_in):
    account = factories.account()
    browser, page = signed_in("support"), f"/accounts/{account.id}"
    answer = browser.submit_form(page, f"/account/{account.id}/notes", text="<b>Called</b> about invoices")
    assert "&lt;b&gt;Called&lt;/b&gt; about invoices" in answer.text
    note = AccountNote.get()
    assert note.author == "support@yout.example"
    assert "invoices" not in repr([*AuditEntry.select().dicts()])
    browser.submit_form(page, f"/account/{account.id}/notes/{note.id}/remove")
    assert not AccountNote.select().exists()


def test_a_purge_requires_typing_the_email(signed_in):
    account = factories.account()
    browser, page = signed_in("owner"), f"/accounts/{account.id}"
    assert "The email does not match" in browser.submit_form(page, f"/account/{account.id}/purge", confirmation="yes").text
    assert not PurgeJob.select().exists()
    assert "Purge started." in browser.submit_form(page, f"/account/{account.id}/purge", confirmation=account.email).text
    assert PurgeJob.get().account_id == account.id


def test_codes_are_shown_once_redeemed_once_and_can_be_voided(signed_in):
    account = factories.account(credits=0)
    browser = signed_in("billing")
    made = browser.submit_form("/codes/", "/codes/", credits="700", count="3", days="30", note="Conference")
    codes = re.search(r'<pre class="list">([^<]+)</pre>', made.text).group(1).split()
    assert len(set(codes)) == 3
    redeem(account.id, codes[0], origin=ORIGIN)
    assert Account.get().balance == 700
    page = browser.get("/codes/").text
    assert not any(code in page for code in codes)
    confirm = f"/codes/selected?action=void&rowid={CodeBatch.get().id}"
    assert "1 row changed." in browser.submit_form(confirm, "/codes/selected/void").text
    assert RedeemCode.select().where(RedeemCode.voided_at.is_null(False)).count() == 2
    wrong = browser.submit_form("/codes/", "/codes/", credits="0", count="1", days="", note="")
    assert wrong.status_code == 422


def test_code_batches_are_paginated(signed_in, monkeypatch):
    monkeypatch.setattr(CodesView, "page_size", 5)
    for number in range(7):
        create_codes(100 + number, 2, origin=ORIGIN)
    redeem(factories.account().id, create_codes(7, 3, note="newest", origin=ORIGIN).codes[0], origin=ORIGIN)
    browser = signed_in("billing")
    queries = []
    kind = type(database.obj)
    execute = kind.execute_sql
    monkeypatch.setattr(kind, "execute_sql", lambda self, sql, *rest: queries.append(sql) or execute(self, sql, *rest))
    first = browser.get("/codes/").text
    assert sum('"redeem_code"' in query for query in queries) == 1  # one query in total, not one per batch
    assert re.search(r">newest</span></td>" + "".join(rf'\s*<td class="right">{count}</td>' for count in (7, 2, 1)), first)
    older = unescape(re.search(r'href="([^"]*)" rel="next"', first).group(1))
    assert (first.count('name="rowid"'), browser.get(older).text.count('name="rowid"')) == (5, 3)


def test_a_key_is_rotated_with_a_grace_period(signed_in):
    owner = factories.account()
    old, _ = factories.api_key(owner, name="laptop", rpm=7, monthly_credit_limit=500)
    browser, page = signed_in("support"), f"/keys/{old.id}"
    made = browser.submit_form(page, f"{page}/rotate", grace_hours="2")
    secret = re.search(r'<code class="secret">(yout-[0-9A-Za-z]+)</code>', made.text).group(1)
    new = ApiKey.get(ApiKey.id != old.id)
    assert (new.name, new.rpm, new.monthly_credit_limit, new.prefix) == ("laptop", 7, 500, secret[:9] + "…")
    assert 7_100_000 < ApiKey.get_by_id(old.id).expires_at - now_ms() <= 7_200_000
    browser.submit_form(f"/keys/{new.id}", f"/keys/{new.id}/rotate", grace_hours="0")
    assert ApiKey.get_by_id(new.id).revoked_at is not None
    again = browser.post(
        f"/keys/{new.id}/rotate", {**browser.form(page, f"{page}/rotate"), "grace_hours": "1"}, follow_redirects=True
    )
    assert "cannot be rotated" in again.text
    assert ApiKey.select().count() == 3


def test_changing_an_email_requires_typing_the_current_one(signed_in):
    account, taken = factories.account(email="ida@example.com"), factories.account()
    browser, page, action = signed_in("support"), f"/accounts/{account.id}", f"/account/{account.id}/email"
    wrong = browser.submit_form(page, action, email="ada@example.com", confirmation="ada@example.com")
    assert "Type ida@example.com to confirm" in wrong.text
    assert "already exists" in browser.submit_form(page, action, email=taken.email.upper(), confirmation="ida@example.com").text
    assert "is not a valid email address" in browser.submit_form(page, action, email="ada", confirmation="ida@example.com").text
    assert Account.get_by_id(account.id).email == "ida@example.com"
    changed = browser.submit_form(page, action, email="Ada@B\u00fccher.example", confirmation="IDA@example.com")
    assert "Email changed to ada@bücher.example" in changed.text
    entry = AuditEntry.get(AuditEntry.action == "account.email")
    assert (entry.before, entry.after) == ({"email": "ida@example.com"}, {"email": "ada@bücher.example"})
    assert f'action="{action}"' not in signed_in("billing").get(page).text


def test_an_accounts_page_shows_its_verification_and_mails(signed_in):
    account = sign_up("ida@example.com", "hash", 500, verify=True)
    page = f"/accounts/{account.id}"
    OutgoingMail.update(attempts=2, last_error="451 4.7.1 Greylisted").execute()
    browser = signed_in("support")
    shown = browser.get(page).text
    assert "unverified" in shown
    assert "500 credits are granted when it is verified" in shown
    assert "451 4.7.1 Greylisted" in shown
    assert "verification-mail" not in shown, "no mail server is set"
    confirm_email(account.id, "ida@example.com", origin=ORIGIN)
    verified = browser.get(page).text
    assert ("unverified" in verified, "cancelled" in verified) == (False, True)


def test_staff_resend_a_verification_mail(bound_database, make_settings, staff):
    mail = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "no-reply@yout.example", "public_url": "https://yout.example"}
    account = sign_up("ida@example.com", "hash", 500, verify=True)
    OutgoingMail.update(status="failed", finished_at=1, last_error="550 No such user").execute()
    app = create_app(make_settings(**mail))
    staff("support")
    browser = Browser(app.test_client())
    browser.sign_in("support@yout.example")
    page, action = f"/accounts/{account.id}", f"/account/{account.id}/verification-mail"
    assert "is queued" in browser.submit_form(page, action).text
    assert [mail.status for mail in OutgoingMail.select().order_by(OutgoingMail.id)] == ["failed", "queued"]
    form = browser.form(page, action)
    confirm_email(account.id, "ida@example.com", origin=ORIGIN)
    assert "is verified already" in browser.post(action, form, follow_redirects=True).text
    assert f'action="{action}"' not in browser.get(page).text


def test_a_key_is_edited(signed_in):
    factories.model("m-1", factories.channel("http://127.0.0.1:9"))
    row, _ = factories.api_key(factories.account(), name="laptop", rpm=7, expires_at=now_ms() + 3_600_000)
    browser, page = signed_in("support"), f"/keys/{row.id}"
    assert f'href="{page}/edit"' in browser.get(page).text
    shown = browser.get(f"{page}/edit").text
    fields = {"name": "server", "rpm": "", "tpm": "9 000", "allowed_models": "m-1", "allowed_ips": "10.0.0.0/8, ::1"}
    fields["expires"] = re.search(r'name="expires"[^>]*value="([\d-]+)"', shown).group(1)
    assert "Key server updated" in browser.submit_form(f"{page}/edit", f"{page}/edit", **fields).text
    found = ApiKey.get_by_id(row.id)
    assert (found.name, found.rpm, found.tpm, found.expires_at) == ("server", None, 9_000, row.expires_at)
    assert (found.allowed_models, found.allowed_ips, found.can_manage) == (["m-1"], ["10.0.0.0/8", "::1/128"], False)
    wrong = browser.submit_form(f"{page}/edit", f"{page}/edit", **{**fields, "allowed_models": "m-9"})
    assert (wrong.status_code, "No model" in wrong.text) == (422, True)
    entry = AuditEntry.get(AuditEntry.action == "key.update")
    assert (entry.before["name"], entry.after["name"]) == ("laptop", "server")
    other = signed_in("billing")
    assert "Save changes" not in other.get(f"{page}/edit").text
    assert other.post(f"{page}/edit", {**fields, "csrf_token": other.form("/", "/logout")["csrf_token"]}).status_code == 403


def test_the_grace_period_of_a_rotated_key_ends_at_its_expiry(bound_database):
    ends = now_ms() + 60_000
    old, _ = factories.api_key(factories.account(), expires_at=ends)
    created = rotate_key(old.id, 3_600_000, origin=ORIGIN)
    assert (ApiKey.get_by_id(old.id).expires_at, created.row.expires_at) == (ends, ends)


def test_bulk_revocation_requires_typing_the_number_of_keys(signed_in):
    ana, ben = factories.account(email="ana@corp.example"), factories.account(email="ben@other.example")
    keys = [factories.api_key(ana)[0] for _ in range(3)]
    other, _ = factories.api_key(ben)
    revoke_key(keys[0].id, origin=ORIGIN)
    browser = signed_in("owner")
    assert "Search first" in browser.get("/keys/revoke").text
    page = browser.get("/keys/revoke?q=ana@corp")
    assert "Revoke 2 keys" in page.text
    action = "/keys/revoke?q=ana@corp"
    wrong = browser.submit_form("/keys/revoke?q=ana@corp", action, confirmation="3")
    assert (wrong.status_code, "2 keys match now" in wrong.text) == (422, True)
    assert "2 keys revoked" in browser.submit_form("/keys/revoke?q=ana@corp", action, confirmation="2").text
    assert [ApiKey.get_by_id(key.id).revoked_at is not None for key in (*keys, other)] == [True, True, True, False]
    assert AuditEntry.select().where(AuditEntry.action == "key.revoke").count() == 3


def test_revoking_twice_counts_once(bound_database):
    key, _ = factories.api_key(factories.account())
    assert [revoke_keys([key.id], origin=ORIGIN) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("currency", "shown"), [("eur", f"10.00{NARROW_SPACE}EUR"), ("jpy", f"1{NARROW_SPACE}000{NARROW_SPACE}JPY"), (None, "–")]
)
def test_prices_of_plans_are_in_the_currency_of_payments(signed_in, currency, shown):
    create_plan("Pro", {"monthly_credits": 100, "price_cents": 1_000}, origin=ORIGIN)
    if currency:
        set_payment_settings(PaymentTerms(currency, 10, [500], 100, 100_000, invoices=True, bank_details="IBAN"), origin=ORIGIN)
    assert f'<td class="right">{shown}</td>' in signed_in("readonly").get("/plans/").text


@pytest.mark.parametrize("role", ["support", "readonly"])
def test_only_owner_and_billing_see_plans_and_codes(signed_in, role):
    browser = signed_in(role)
    token = browser.form("/", "/logout")
    for path in ("/plans/new", "/codes/"):
        assert browser.post(path, token).status_code == 403
    assert "Add plan</a>" not in browser.get("/plans/").text


def test_an_account_is_created_and_its_owner_gets_a_password_link_once(app, signed_in):
    owner = signed_in("support")
    page = owner.submit_form("/accounts/new", "/accounts/new", email="Ada@Example.com", name="Ada").text
    account = Account.get(Account.email == "ada@example.com")
    assert (account.name, account.balance, account.password_hash) == ("Ada", 0, None)
    assert "The owner has no password yet." in page
    address = f"/accounts/{account.id}/password-link"
    filled = owner.form(f"/accounts/{account.id}", address)
    first, again = (owner.post(address, filled, follow_redirects=True).text for _ in range(2))
    found = re.search(r'<code class="secret"[^>]*>http://[^<]*/password/([\w-]{64})</code>', first)
    assert found is not None
    assert proves(read_token(found[1]), app.extensions["yout_settings"].secret_key, PASSWORD, None, now_ms())
    assert "was already shown" in again
    assert AuditEntry.select().where(AuditEntry.action == "account.password_link").count() == 1
    taken = owner.submit_form("/accounts/new", "/accounts/new", email="ada@example.com")
    assert (taken.status_code, "already exists" in taken.text) == (422, True)


def test_actors_have_names_and_links(signed_in):
    owner = signed_in("owner")
    account = factories.account(email="ada@example.com")
    key, _ = factories.api_key(account, name="laptop")
    for actor in (f"account:{account.id}", f"key:{key.prefix}", "owner@yout.example", "seed", "account:nobody"):
        record_audit_entry(Origin(actor), "key.test", account.id)
    page = owner.get("/audit/?action=key.test").text
    rows = [re.sub(r"\s+", " ", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    names = [re.findall(r'<a href="/(accounts|keys|staff)/[^"]*"[^>]*>([^<]*)</a>', row) for row in rows[1:]]
    target = ("accounts", "ada@example.com")  # linked as well
    assert names == [
        [target],
        [target],
        [("staff", "owner@yout.example"), target],
        [("keys", "laptop"), target],
        [target, target],
    ]
    assert "account:nobody" in page
    assert owner.get("/audit/?actor=ada@example.com").text.count("<tr>") == 2  # the head and the account's own entry


def test_members_are_invited_changed_suspended_made_owner_and_removed(signed_in):
    account = factories.account(email="ada@example.com")
    browser, page = signed_in("support"), f"/accounts/{account.id}"
    asked = {"email": "eve@example.com", "role": "viewer"}
    assert "eve@example.com is invited." in browser.submit_form(page, f"/members/{account.id}", **asked).text
    revoke = f"/members/{account.id}/invitations/{Invitation.get().id}/revoke"
    assert "Invitation to eve@example.com revoked." in browser.submit_form(page, revoke).text
    member = add_member(account.id, "ben@example.com", MemberTerms("developer"), origin=ORIGIN).member
    key = create_key(account.id, "ben's laptop", member=member.id, origin=ORIGIN).row
    address = f"/members/{account.id}/{member.id}"
    assert "ben&#39;s laptop" in browser.get(address).text
    limits = {"role": "admin", "monthly_credit_limit": "5 000", "daily_credit_limit": ""}
    assert "ben@example.com updated." in browser.submit_form(address, address, **limits).text
    assert (Member.get_by_id(member.id).role, Member.get_by_id(member.id).monthly_credit_limit) == ("admin", 5_000)
    assert "/ 5" in browser.get(page).text
    assert "ben@example.com is suspended." in browser.submit_form(address, f"{address}/suspend").text
    assert "ben@example.com is active again." in browser.submit_form(address, f"{address}/resume").text
    assert "ben@example.com now owns the account." in browser.submit_form(address, f"{address}/transfer").text
    assert Account.get_by_id(account.id).email == "ben@example.com"
    former = f"/members/{account.id}/{account.id}"
    assert "ada@example.com removed" in browser.submit_form(former, f"{former}/remove").text
    assert ApiKey.get_by_id(key.id).revoked_at is None
    actions = [entry.action for entry in AuditEntry.select().where(AuditEntry.actor == "support@yout.example")]
    expected = ("invite", "revoke_invitation", "change", "suspend", "resume", "transfer", "remove")
    assert [action for action in actions if action.startswith("member.")] == [f"member.{verb}" for verb in expected]
    other = factories.account(email="zoe@example.com")
    assert browser.get(f"/members/{other.id}/{member.id}").status_code == 404


def test_a_new_email_is_shown_as_pending_until_it_is_confirmed(signed_in) -> None:
    account = sign_up("before@example.com", "hash", 0)
    change = request_change(account.id, "after@example.com", origin=ORIGIN)
    browser = signed_in("readonly")
    assert "after@example.com, until" in browser.get(f"/accounts/{account.id}").text
    confirm_change(change.id, origin=ORIGIN)
    assert ", until" not in browser.get(f"/accounts/{account.id}").text


def test_staff_invite_someone_to_an_account_if_a_mail_server_is_set(signed_in, app) -> None:
    browser = signed_in("support")
    assert "invite" not in browser.get("/accounts/new").text
    mail = {"smtp_url": "smtp://localhost:25", "mail_from": "no-reply@yout.example", "public_url": "https://yout.example"}
    settings = app.extensions["yout_settings"]
    app.extensions["yout_settings"] = replace(settings, **mail, sign_up_credits=500)
    page = browser.submit_form("/accounts/new", "/accounts/new", email="invited@example.com", name="", invite="y").text
    assert "gets an email with a link" in page
    account = Account.get(Account.email == "invited@example.com")
    assert (account.balance, account.pending_credits) == (0, 500)
    assert [(mail.kind, mail.recipient) for mail in recent_mails(account.id)] == [("account_invitation", account.email)]
