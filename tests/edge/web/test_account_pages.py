"""The account pages: what they show, what they change, and that they never show another account's data."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import peewee
import pytest

from edge.web.keys import PAGE_SIZE
from shared.billing.calls import PAGE_SIZE as PAGE
from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidInput
from shared.core.timestamps import format_timestamp
from shared.models import (
    MODELS,
    Account,
    ApiKey,
    AuditEntry,
    Conversation,
    PersonIdentity,
    PersonPasskey,
    Plan,
    PurgeJob,
    Share,
    Subscription,
    UsageLedger,
)
from shared.operations.account_closing import certificate_token, close_account
from shared.operations.account_export import EXCLUDED_TABLES, TABLES
from shared.operations.conversations import ChatMessage
from shared.operations.email_changes import request_change
from shared.operations.members import MemberTerms, add_member
from shared.operations.purges import begin_purge
from shared.operations.redeem_codes import create_codes
from shared.operations.shares import share_messages
from shared.operations.web_accounts import create_session
from tests import factories
from tests.edge.web.conftest import COOKIE, Browser, Site
from tests.factories import ORIGIN
from tests.openai_payloads import Json

NAMES = ("", "/keys", "/usage", "/conversations", "/shares", "/sessions", "/data", "/close")
PAGES = [*(f"/account{name}" for name in NAMES), "/calls"]
OTHERS = ["/calls.csv", "/calls/req_x", "/account/export.json", "/account/keys/x/revoke", "/account/shares/x/revoke"]


def owner(browser: Browser) -> Account:
    assert browser.account is not None
    return browser.account


def text(body: bytes) -> str:
    """A page without the parts that differ between responses."""
    return re.sub(r">[^<]*</time>|req_\w+|value=\"([0-9a-f]{64}|[\w-]{22})\"|/[\w-]{36}/", "", body.decode())


def call(account: Account, model: str = "m-1", **columns: Any) -> UsageLedger:
    values = {"price": new_id(), "status": "completed", "streamed": True, "input_tokens": 7, "output_tokens": 3, "credits": 13}
    made: UsageLedger = UsageLedger.create(account=account, model=model, **{**values, **columns})
    return made


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_account_pages_require_sign_in(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert answer.status == 303
    assert answer.headers["location"].startswith(f"/sign-in?next={path}")


@pytest.mark.parametrize("path", ["/", "/sign-in", *PAGES])
def test_pages_send_security_headers(member: Browser, path: str) -> None:
    if path == "/sign-in":
        member.cookies.clear()
    answer = member.get(path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = answer.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|<style", page)


def test_a_key_is_created_shown_once_and_revoked(site: Site, member: Browser) -> None:
    made = member.submit_form("/account/keys", {"name": "production", "rpm": "50", "allowed_ips": "10.0.0.0/8, 127.0.0.1"})
    shown = member.follow(made)
    secret = re.search(r'data-copy="(yout-\w+)"', shown.body.decode())
    assert secret is not None
    row = ApiKey.get(ApiKey.account == owner(member).id)
    assert (row.name, row.rpm, row.allowed_ips) == ("production", 50, ["10.0.0.0/8", "127.0.0.1/32"])
    listed = member.get("/account/keys").body
    assert secret[1].encode() not in listed
    assert row.prefix.encode() in listed
    assert member.get(f"/account/keys/{row.id}/revoke").status == 200
    assert ApiKey.get_by_id(row.id).revoked_at is None  # opening the confirmation changes nothing
    assert member.submit_form(f"/account/keys/{row.id}/revoke").status == 303
    sent = {"authorization": f"Bearer {secret[1]}", "accept": "application/json"}
    assert member.request("GET", "/api/chat/keys/", None, sent).status == 401


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": " "}, "name"),
        ({"name": "x", "rpm": "many"}, "rpm"),
        ({"name": "x", "monthly_credit_limit": "0"}, "monthly_credit_limit"),
        ({"name": "x", "expires_at": "2001-01-01"}, "expires_at"),
        ({"name": "x", "allowed_ips": "elsewhere"}, "allowed_ips"),
    ],
)
def test_an_invalid_key_field_is_named_and_the_others_are_kept(member: Browser, fields: dict[str, str], wrong: str) -> None:
    answer = member.submit_form("/account/keys", {"tpm": "777", **fields})
    assert answer.status == 422
    page = answer.body.decode()
    assert re.search(rf'id="{wrong}"[^>]*aria-invalid="true"', page)
    assert 'value="777"' in page


def test_keys_are_paginated_with_active_ones_first(site: Site, member: Browser) -> None:
    account = owner(member)
    rows = [factories.api_key(account, f"key {number}")[0] for number in range(PAGE_SIZE + 3)]
    revoked = [rows[-1], rows[-2], rows[0]]
    ApiKey.update(revoked_at=now_ms()).where(ApiKey.id.in_([row.id for row in revoked])).execute()
    expected = [row.prefix for row in (*reversed(rows[1:-2]), *revoked)]
    found: list[str] = []
    path = "/account/keys"
    while path:
        body = member.get(path).body.decode()
        page = re.findall(r'<code class="soft">(yout-\w+…)</code>', body)
        assert len(page) <= PAGE_SIZE
        found += page
        older = re.search(r'href="(/account/keys\?after=[\w-]+)"', body)
        path = older[1] if older else ""
    assert found == expected
    other = factories.api_key(factories.account())[0]
    first = member.get("/account/keys").body
    for after in ("x", other.id):
        assert text(member.get(f"/account/keys?after={after}").body) == text(first)


def test_a_key_is_edited(site: Site, member: Browser) -> None:
    row, _ = factories.api_key(owner(member), rpm=7, allowed_ips=["10.0.0.0/8"], expires_at=now_ms() + 3_600_000)
    path = f"/account/keys/{row.id}/edit"
    page = member.get(path).body.decode()
    assert 'value="7"' in page
    assert 'value="10.0.0.0/8"' in page
    day = re.search(r'name="expires_at" type="date" value="([\d-]+)"', page)
    assert day is not None
    fields = {"name": "renamed", "rpm": "", "tpm": "900", "allowed_ips": "10.0.0.0/8", "expires_at": day[1], "can_manage": "on"}
    saved = member.submit_form(path, fields)
    assert (saved.status, saved.headers["location"]) == (303, "/account/keys?done=key-updated")
    found = ApiKey.get_by_id(row.id)
    assert (found.name, found.rpm, found.tpm, found.allowed_ips) == ("renamed", None, 900, ["10.0.0.0/8"])
    assert (found.expires_at, found.can_manage) == (row.expires_at, True)  # same day, so the exact time is kept
    wrong = member.submit_form(path, {**fields, "rpm": "many"})
    assert wrong.status == 422
    assert re.search(r'id="rpm"[^>]*aria-invalid="true"', wrong.body.decode())
    assert ApiKey.get_by_id(row.id).rpm is None


def test_data_of_other_accounts_is_not_found(site: Site, member: Browser) -> None:
    other = factories.account()
    key = factories.api_key(other)[0]
    conversation = Conversation.create(account=other, title="secret title")
    share = share_messages(other.id, "t", [ChatMessage("user", "x")])
    paths = [
        ("/account/keys/{}/revoke", str(key.id), str(new_id())),
        ("/account/keys/{}/edit", str(key.id), str(new_id())),
        ("/account/conversations/{}/delete", str(conversation.id), str(new_id())),
        ("/account/shares/{}/revoke", share.slug, "A" * 22),
    ]
    for path, theirs, nobodys in paths:
        for send in (member.get, lambda address: member.submit_form(address, page="/account/keys")):
            answers = [send(path.format(id)) for id in (theirs, nobodys)]
            assert [answer.status for answer in answers] == [404, 404]
            assert text(answers[0].body) == text(answers[1].body)
    job = PurgeJob.create(account=other, boundary=0, status="done", certificate="{}")
    assert [member.get(f"/account/purge/{id}/certificate.json").status for id in (job.id, new_id())] == [404, 404]
    assert ApiKey.get_by_id(key.id).revoked_at is None
    assert Conversation.get_or_none(Conversation.id == conversation.id) is not None
    assert Share.get_or_none(Share.id == share.id) is not None


def test_data_of_other_accounts_is_not_found_in_the_native_api(site: Site, member: Browser) -> None:
    other = factories.account()
    key = factories.api_key(other)[0]
    conversation = Conversation.create(account=other, title="t")
    for method, path, theirs in (
        ("POST", "/api/chat/keys/{}/revoke/", key.id),
        ("GET", "/api/chat/conversations/{}/", conversation.id),
        ("DELETE", "/api/chat/conversations/{}/", conversation.id),
    ):
        answers = [member.api(method, path.format(id)) for id in (theirs, new_id())]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].body == answers[1].body


def test_usage_is_shown_by_day_key_model_and_tag_as_the_api_reports_it(site: Site, member: Browser) -> None:
    key = factories.api_key(owner(member), name="batch")[0]
    call(owner(member), cached_tokens=6)
    page = member.get("/account/usage").body.decode()
    assert ">By model<" in page
    assert ">By tag<" not in page
    call(owner(member), "m-2", credits=1_000, tag="team:search", api_key=key.id)
    call(owner(member), "m-2", credits=0, status="failed")
    call(factories.account(), "m-9")
    page = member.get("/account/usage?days=7").body.decode()
    for by, first, second in (("key", "batch", "Web sessions"), ("model", "m-2", "m-1"), ("tag", "team:search", "No tag")):
        assert page.index(f">{first}<") < page.index(f">{second}<")
        for row in member.api("GET", f"/api/usage/?by={by}").json["rows"]:
            cells = [f"{row[name]:,}".replace(",", "\u202f") for name in ("calls", "failed", "input_tokens")]
            assert re.search("</td>\\s*<td[^>]*>".join(cells), page)
            assert f'<td class="right">{row["credits"]:,}</td>'.replace(",", "\u202f") in page
    assert "29\u202f% read from caches" in page
    assert "m-9" not in page
    assert f"&amp;key={key.id}" in page  # leads to its calls
    assert page.count("data-at=") == 7
    assert member.get("/account/usage?days=nonsense").body.count(b"data-at=") == 30


def test_calls_are_filtered_by_the_url_and_paged(site: Site, member: Browser) -> None:
    key = factories.api_key(owner(member), name="batch")[0]
    old = call(owner(member), "m-old", created_at=now_ms() - 20 * 86_400_000)
    call(owner(member), "m-keyed", api_key=key.id)
    call(owner(member), "m-tagged", tag="team:search", status="failed", credits=0, error_code="upstream_timeout")
    call(factories.account(), "m-9")
    for query, expected in {
        "": ["m-tagged", "m-keyed", "m-old"],
        "?status=failed": ["m-tagged"],
        "?tag=team:search": ["m-tagged"],
        "?key=web": ["m-tagged", "m-old"],
        f"?key={key.id}": ["m-keyed"],
        "?model=m-old&key=&status=": ["m-old"],
        f"?to={format_timestamp(old.created_at)[:10]}": ["m-old"],
        "?from=2100-01-01": [],
        f"?after={ApiKey.get_by_id(key.id).id}": ["m-tagged", "m-keyed", "m-old"],  # not a call
    }.items():
        page = member.get(f"/calls{query}").body.decode()
        assert re.findall(r'<td class="clip" title="(m-[\w-]+)"', page) == expected, query
    assert "upstream timeout" in member.get("/calls?status=failed").body.decode()
    for wrong in ("from=yesterday", "key=x", "status=late"):
        assert member.get(f"/calls?{wrong}").status == 400
    for number in range(PAGE + 1):
        call(owner(member), f"m-{number}", tag="many")
    found, path = [], "/calls?tag=many"
    while path:
        page = member.get(path).body.decode()
        found += re.findall(r'<td class="clip" title="(m-\d+)"', page)
        older = re.search(r'href="([^"]*)" rel="next"', page)
        path = unescape(older[1]) if older else ""
    assert found == [f"m-{number}" for number in reversed(range(PAGE + 1))]


def test_a_receipt_has_the_figures_of_the_api_and_belongs_to_its_account(site: Site, member: Browser) -> None:
    reply = member.api("POST", "/api/chat/stream/", {"model": "m-1", "prompt": "a-canary"})
    assert reply.status == 200, reply.body
    made = UsageLedger.get(UsageLedger.account == owner(member).id)
    id = f"req_{made.id.hex}"
    receipt = member.api("GET", f"/api/receipts/{id}/").json
    page = member.get(f"/calls/{id}").body.decode()
    assert f'data-copy="{id}"' in page
    assert f'<th scope="row">Charged</th><td></td><td></td><td class="right">{receipt["credits_charged"]}</td>' in page
    assert "≈" in page
    assert "a-canary" not in page
    assert f"/calls/{id}" in member.get("/calls").body.decode()
    assert site.member().get(f"/calls/{id}").status == 404
    assert member.get("/calls/x").status == 404


def test_the_calls_page_says_how_long_calls_are_kept(member: Browser) -> None:
    assert "Calls are deleted after" not in member.get("/calls").body.decode()
    Subscription.create(account=owner(member), plan=Plan.create(name=f"kept {owner(member).id}", usage_days=45))
    assert "Calls are deleted after 45 days" in member.get("/calls").body.decode()
    assert "Calls are deleted after 45 days" in unescape(member.get(f"/calls/req_{new_id().hex}").body.decode())


def test_calls_are_exported_as_csv_without_formulas(site: Site, member: Browser) -> None:
    key = factories.api_key(owner(member), name="=HYPERLINK(1)")[0]
    made = call(owner(member), api_key=key.id, tag="team:search")
    call(owner(member), created_at=now_ms() - 20 * 86_400_000)
    call(factories.account())
    answer = member.get("/calls.csv?tag=team:search")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="yout-calls.csv"'
    head, *rows = csv.reader(io.StringIO(answer.body.decode("utf-8-sig")))
    assert len(rows) == 1
    row = dict(zip(head, rows[0], strict=True))
    assert (row["request_id"], row["key"], row["credits"]) == (f"req_{made.id.hex}", "'=HYPERLINK(1)", "13")
    assert row["tag"] == "team:search"
    assert len(member.get("/calls.csv").body.decode().splitlines()) == 3


def test_a_code_is_redeemed_once(site: Site, member: Browser) -> None:
    code = create_codes(2_500, origin=ORIGIN).codes[0]
    assert member.submit_form("/account/redeem", {"code": f" {code.lower()} "}, page="/account").status == 303
    assert Account.get_by_id(owner(member).id).balance == 502_500
    again = member.submit_form("/account/redeem", {"code": code}, page="/account")
    assert again.status == 422
    assert re.search(rb'id="code"[^>]*aria-invalid', again.body)
    answers = [member.submit_form("/account/redeem", {"code": "guess"}, page="/account").status for _ in range(10)]
    assert answers[-1] == 429


def test_the_export_holds_every_table_and_no_secret(site: Site, member: Browser) -> None:
    account = owner(member)
    secret = factories.api_key(account, name="exported")[1]
    conversation = Conversation.create(account=account, title="kept", message_count=0)
    for number in range(3):
        call(account, f"exported-{number}")
    call(factories.account(), "not-mine")
    answer = member.get("/account/export.json")
    assert answer.headers["content-disposition"] == 'attachment; filename="yout-account.json"'
    document: Json = answer.json
    assert list(document) == [table.name for table in TABLES]
    assert [row["email"] for row in document["account"]] == [account.email]
    assert [row["name"] for row in document["api_keys"]] == ["exported"]
    assert sorted(row["model"] for row in document["usage"]) == ["exported-0", "exported-1", "exported-2"]
    assert [row["id"] for row in document["conversations"]] == [str(conversation.id)]
    assert [row["kind"] for row in document["ledger"]] == ["grant"]
    assert "not-mine" not in answer.body.decode()
    for hidden in (secret, member.cookies[COOKIE], "known to nobody", "digest", "password_hash", "sealed"):
        assert hidden not in answer.body.decode()


def test_every_account_table_is_exported_or_explicitly_excluded() -> None:
    owned = {Account}
    while True:
        more = {
            model
            for model in MODELS
            if model not in owned
            and any(
                (isinstance(field, peewee.ForeignKeyField) and field.rel_model in owned) or field.name == "account"
                for field in model._meta.sorted_fields
            )
        }
        if not more:
            break
        owned |= more
    of_people = {"AuditEntry", "EmailChange", "PersonIdentity", "PersonPasskey"}  # no table of accounts
    assert {model.__name__ for model in owned} == {table.model.__name__ for table in TABLES} - of_people | set(EXCLUDED_TABLES)


def test_an_export_has_the_owners_ways_to_sign_in_and_not_those_of_others(site: Site, member: Browser) -> None:
    account = owner(member)
    other = add_member(account.id, f"other-{account.email}", MemberTerms("admin"), origin=ORIGIN).member.person
    for person, name in ((account.id, "mine"), (other.id, "not-mine")):
        PersonIdentity.create(person=person, issuer="https://id.example", subject=name, email=f"{name}@example.com")
        PersonPasskey.create(person=person, credential=f"secret-{name}", public_key=b"key", sign_count=7, name=name)
    request_change(account.id, f"new-{account.email}", origin=ORIGIN)
    answer = member.get("/account/export.json")
    document: Json = answer.json
    [identity], [passkey], [change] = document["identities"], document["passkeys"], document["email_changes"]
    assert (identity["issuer"], identity["subject"], identity["email"]) == ("https://id.example", "mine", "mine@example.com")
    assert (passkey["name"], passkey["last_used_at"], passkey["created_at"] > 0) == ("mine", None, True)
    assert change["email"] == f"new-{account.email}"
    for hidden in ("not-mine", "secret-mine", "public_key", "sign_count"):
        assert hidden not in answer.body.decode()


def test_a_purge_requires_typing_the_email(site: Site, member: Browser) -> None:
    assert member.submit_form("/account/purge", {"confirmation": "yes"}, page="/account/data").status == 422
    assert not PurgeJob.select().where(PurgeJob.account == owner(member).id).exists()
    assert member.submit_form("/account/purge", {"confirmation": owner(member).email.upper()}, page="/account/data").status == 303
    page = member.get("/account/data").body.decode()
    assert "Purge in progress" in page
    assert 'data-refresh="3000"' in page


def test_an_account_is_closed_by_its_owner(site: Site, member: Browser) -> None:
    account = owner(member)
    plan = Plan.create(name=f"Plan {new_id()}", monthly_credits=1_000_000)
    Subscription.create(account=account, plan=plan)
    secret = factories.api_key(account)[1]
    other = create_session(account.id, "Firefox on Linux", password_hash="known to nobody").secret
    page = member.get("/account/close").body.decode()
    assert "You can no longer use your balance of 500\u202f000 credits" in page
    assert member.submit_form("/account/close", {"confirmation": "yes"}).status == 422
    assert Account.get_by_id(account.id).status == "active"
    closed = member.submit_form("/account/close", {"confirmation": account.email.upper()})
    assert COOKIE not in member.cookies
    assert b"Your account is closed" in member.follow(closed).body
    row = Account.get_by_id(account.id)
    assert (row.status, row.balance, row.email, row.password_hash) == ("closed", 500_000, account.email, None)
    assert Subscription.get(Subscription.account == account.id).status != "active"
    assert member.request("GET", "/v1/models", None, {"authorization": f"Bearer {secret}", "accept": "*/*"}).status == 401
    member.cookies[COOKIE] = other
    assert member.get("/account").status == 303
    entry = AuditEntry.get(AuditEntry.target == str(account.id), AuditEntry.action == "account.close")
    assert (entry.actor, entry.after["keys_revoked"], entry.after["sessions_ended"]) == (f"account:{account.id}", 1, 2)
    path = closed.headers["location"]
    job = PurgeJob.get(PurgeJob.account == account.id)
    assert (job.status, b"is being deleted" in site.browser().get(path).body) == ("queued", True)
    certificate = '{"purge": "done"}'
    PurgeJob.update(status="done", finished_at=now_ms(), certificate=certificate).where(PurgeJob.id == job.id).execute()
    assert b"Download the certificate" in site.browser().get(path).body
    assert site.browser().get(f"{path}/certificate.json").body.decode() == certificate
    begun = begin_purge(factories.account().id, origin=ORIGIN)  # of an account that is not closed
    for wrong in ("x", certificate_token(begun, "another secret"), certificate_token(job, "another secret")):
        assert site.browser().get(f"/closed/{wrong}").status == 404
    with pytest.raises(InvalidInput, match="already closed"):
        close_account(account.id, origin=ORIGIN)


def test_the_plan_and_its_overage_are_shown(site: Site, member: Browser) -> None:
    plan = Plan.create(name=f"Plan {new_id()}", monthly_credits=1_000_000)
    Subscription.create(account=owner(member), plan=plan, overage_cap=9_000)
    page = member.get("/account").body.decode()
    assert plan.name in page
    assert "0 of 9\u202f000" in page


def test_a_404_is_html_for_browsers_and_json_for_programs(member: Browser) -> None:
    answer = member.get("/nowhere")
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert owner(member).email.encode() in answer.body
    answer = member.get("/nowhere", {"accept": "*/*"})
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert member.get("/api/nowhere").error["code"] == "not_found"


def test_customer_text_is_escaped(site: Site, member: Browser) -> None:
    member.submit_form("/account/keys", {"name": "<script>alert(1)</script>"})
    page = member.get("/account/keys").body
    assert b"<script>alert" not in page
    assert b"&lt;script&gt;alert" in page


def test_a_keys_monthly_usage_is_shown_with_its_limit(site: Site, member: Browser) -> None:
    key = factories.api_key(owner(member), name="limited", monthly_credit_limit=9_000)[0]
    page = member.get("/account/keys").body.decode()
    assert "of 9\u202f000<" in page
    assert key.prefix in page


def test_without_a_visitor_pool_the_chat_page_asks_visitors_to_sign_in(browser: Browser) -> None:
    page = browser.get("/").body.decode()
    assert "Sign in to chat" in page
    assert "<textarea" not in page
    assert "free to try" not in page.lower()


def test_flash_messages_cannot_be_forged(member: Browser) -> None:
    assert b"Key revoked." in member.get("/account/keys?done=key-revoked").body
    assert b"Send+money" not in member.get("/account/keys?" + urlencode({"done": "Send money"})).body
    assert b"Send money" not in member.get("/account/keys?" + urlencode({"done": "Send money"})).body
