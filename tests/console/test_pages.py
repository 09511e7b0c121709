"""What the pages show, what they must never show, and pagination of long tables."""

from __future__ import annotations

import gzip
import re
from typing import Any
from uuid import UUID

import brotli
import pytest

from shared.core.clock import new_id, now_ms
from shared.models import ApiKey, Channel, Hold, LedgerEntry, Price, StaffUser, UsageLedger
from shared.operations.accounts import adjust_credits
from shared.operations.keys import revoke_key
from tests import factories
from tests.databases import allow_tampering
from tests.factories import ORIGIN, UPSTREAM_SECRET

LISTS = ("/", "/accounts/", "/keys/", "/usage/", "/holds/", "/ledger/", "/models/", "/channels/", "/audit/")
THIN = "\u202f"


def usage_row(account: Any, **values: Any) -> UsageLedger:
    columns = {"id": new_id(), "model": "m", "price": UUID(int=1), "status": "completed", "streamed": True, **values}
    return UsageLedger.create(account=account, **columns)


def hold(account: Any, **values: Any) -> Hold:
    return Hold.create(
        account=account, **{"model": "m", "price": UUID(int=1), "amount": 70, "expires_at": now_ms() + 60_000, **values}
    )


@pytest.fixture
def filled() -> dict[str, str]:
    """One row of everything; returns the URL of each detail page."""
    owner = factories.account(email="mira@example.com")
    key, _ = factories.api_key(owner, name="<script>alert(1)</script>")
    revoke_key(factories.api_key(owner, name="old")[0].id, origin=ORIGIN)
    channel = factories.channel("https://up.example/v1", settings={"quirk": "<b>"})
    factories.model("m", channel, description="<i>bold</i>")
    adjust_credits(owner.id, -10, "<script>x</script>", origin=ORIGIN)
    price = Price.get(Price.model == "m")
    made = usage_row(owner, api_key=key.id, channel=channel.id, price=price.id, input_tokens=10, output_tokens=5, credits=3)
    usage_row(owner, status="failed", error_code="upstream_timeout")
    hold(owner)
    return {
        "account": f"/accounts/{owner.id}",
        "key": f"/keys/{key.id}",
        "model": "/models/id/m",
        "channel": f"/channels/{channel.id}",
        "receipt": f"/usage/{made.id}",
    }


def test_no_page_has_inline_script_inline_style_or_a_secret_and_csp_is_set(signed_in, filled):
    browser = signed_in("owner")
    secrets = [UPSTREAM_SECRET, *(row.digest for row in ApiKey.select()), *(row.sealed_secret for row in Channel.select())]
    secrets += [row.password_hash for row in StaffUser.select()]
    for path in (*LISTS, *filled.values(), "/login", "/nothing/here"):
        answer = browser.get(path, follow_redirects=True)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert all(
            "src=" in tag and body == "" for tag, body in re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
        )
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<b>\"|<i>bold", answer.text), path
        assert not [secret for secret in secrets if secret in answer.text], path


def test_every_asset_is_served_from_our_own_origin(signed_in):
    browser = signed_in("owner")
    assets = re.findall(r'(?:href|src)="(/(?:static|shared)/[^"]+)"', browser.get("/").text)
    assert len(assets) == 9
    for path in assets:
        answer = browser.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"].endswith("immutable")
        assert browser.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        small = browser.get(path, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert small.headers["Content-Encoding"] == "br"
        assert brotli.decompress(small.data) == answer.data
        assert small.headers["ETag"] != answer.headers["ETag"]
        old = re.sub(r"/[0-9a-f]{16}/", "/0123456789abcdef/", path)  # as a page from before a deployment asks for it
        assert browser.get(old).headers["Cache-Control"] == "public, max-age=300"
    assert browser.get("/shared/../models.py").status_code == 404


def test_pages_are_compressed_unless_another_site_sent_the_request(signed_in):
    browser = signed_in("owner")
    sent = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "same-origin"}
    small = browser.get("/models/", headers=sent)
    assert small.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in small.headers["Vary"]
    assert int(small.headers["Content-Length"]) == len(small.data) < len(browser.get("/models/").data) / 2
    assert b"No models yet" in gzip.decompress(small.data)
    for other in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": ""}, {"Accept-Encoding": "identity"}):
        plain = browser.get("/models/", headers=sent | other)
        assert "Content-Encoding" not in plain.headers, other
        assert "Accept-Encoding" in plain.headers["Vary"]


def test_empty_pages_explain_what_they_will_show(signed_in):
    browser = signed_in("readonly")
    words = {
        "/": "No calls in the last 24 hours",
        "/accounts/": "No accounts yet",
        "/keys/": "No API keys yet",
        "/usage/": "No calls yet",
        "/holds/": "No calls in progress",
        "/ledger/": "No entries yet",
        "/models/": "No models yet",
        "/channels/": "No channels yet",
    }
    for path, expected in words.items():
        assert expected in browser.get(path).text, path
    assert "No entries match" in browser.get("/audit/?actor=nobody").text
    assert "No accounts match" in browser.get("/accounts/?q=zzz").text


def rows_of(text: str, pattern: str) -> list[str]:
    return re.findall(pattern, text.split("<tbody>")[1]) if "<tbody>" in text else []


def all_matches(browser: Any, path: str, pattern: str) -> list[str]:
    """All matches of `pattern` on all pages, following the link to older rows."""
    seen = []
    for _ in range(10):
        text = browser.get(path).text
        seen += rows_of(text, pattern)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        if following is None:
            return seen
        path = following.group(1).replace("&amp;", "&")
    raise AssertionError("pagination does not end")


def test_usage_pages_show_each_call_once_newest_first_even_within_a_millisecond(signed_in):
    owner, moment = factories.account(), now_ms()
    made = [usage_row(owner, created_at=moment - number // 40) for number in range(120)]
    browser = signed_in("owner")
    expected = [str(row.id) for row in sorted(made, key=lambda row: (row.created_at, row.id.int), reverse=True)]
    link = r'class="row" href="/usage/([0-9a-f-]+)"'
    assert all_matches(browser, "/usage/", link) == expected
    assert all_matches(browser, f"/usage/?account={owner.email}&model=m", link) == expected


def test_ledger_pages_show_each_entry_once_for_all_and_for_one_account(bound_database, signed_in):
    first, second = factories.account(credits=1), factories.account(credits=2)
    for number in range(60):
        adjust_credits(first.id if number % 2 else second.id, 1_000 + number, "x", origin=ORIGIN)
    allow_tampering(bound_database)
    LedgerEntry.update(created_at=now_ms()).execute()
    browser = signed_in("owner")
    movement = rf"\+([0-9{THIN}]+)</span>"
    assert len(set(all_matches(browser, "/ledger/", movement))) == 62
    mine = all_matches(browser, f"/ledger/?account={first.id}", movement)
    assert mine == [f"1{THIN}{number:03d}" for number in range(59, 0, -2)] + ["1"]


@pytest.mark.parametrize("cursor", ["x", "1", "1_2_3", "-1_00000000000000000000000000000001", "9" * 30 + "_" + "0" * 32])
def test_a_malformed_page_cursor_is_rejected(signed_in, cursor):
    answer = signed_in("owner").get(f"/usage/?before={cursor}")
    assert (answer.status_code, "Start from the first page" in answer.text) == (400, True)


def test_usage_filters_apply_and_stay_in_the_url(signed_in):
    owner, other = factories.account(), factories.account()
    key, _ = factories.api_key(owner)
    wanted = usage_row(owner, api_key=key.id, model="m-1", status="failed")
    usage_row(owner, model="m-2", status="failed")
    usage_row(other, model="m-1", status="failed")
    usage_row(owner, api_key=key.id, model="m-1", status="completed")
    query = f"account={owner.email}&model=m-1&status=failed&key={key.id}"
    text = signed_in("owner").get(f"/usage/?{query}").text
    assert rows_of(text, r'class="row" href="/usage/([0-9a-f-]+)"') == [str(wanted.id)]
    assert text.count('class="chip"') == 4
    assert signed_in("support").get("/usage/?key=nonsense").status_code == 400


def test_a_receipt_shows_each_product_the_rounding_and_the_charge(signed_in):
    owner = factories.account()
    factories.model("m", input=1_250, output=10_000, cached_input=125, minimum=10)
    price = Price.get(Price.model == "m")
    made = usage_row(owner, price=price.id, input_tokens=1_000, cached_tokens=301, output_tokens=50, credits=1_412)
    text = signed_in("owner").get(f"/usage/{made.id}").text
    # 699 × 1.25 + 301 × 0.125 + 50 × 10 = 873.75 + 37.625 + 500 = 1411.375, rounded up
    for figure in ('873<span class="soft">.750', '37<span class="soft">.625', f"1{THIN}412"):
        assert figure in text
    assert "Charged by tokens." in text
    UsageLedger.update(credits=1_400, overrun_credits=12).execute()
    assert "the platform" in signed_in("support").get(f"/usage/{made.id}").text


def test_a_receipt_stays_readable_after_price_key_and_channel_are_deleted(signed_in):
    made = usage_row(factories.account(), api_key=UUID(int=5), channel=UUID(int=6), credits=7)
    answer = signed_in("owner").get(f"/usage/{made.id}")
    assert (answer.status_code, "price of this call was deleted" in answer.text) == (200, True)


def test_accounts_are_found_by_email_prefix_and_by_id(signed_in):
    wanted = factories.account(email="mira@example.com")
    factories.account(email="tom_1@example.com")
    browser = signed_in("owner")
    text = browser.get("/accounts/?q=MIRA").text
    assert rows_of(text, r'class="row" href="/accounts/([0-9a-f-]+)"') == [str(wanted.id)]
    assert browser.get(f"/accounts/?q={wanted.id}").location == f"/accounts/{wanted.id}"
    assert "No accounts match" in browser.get("/accounts/?q=%25").text
    assert "No accounts match" in browser.get("/accounts/?q=tom%2D").text


def test_keys_are_found_by_prefix_owner_or_a_pasted_key_that_is_not_echoed(signed_in):
    owner = factories.account(email="mira@example.com")
    row, secret = factories.api_key(owner)
    factories.api_key(factories.account())
    browser = signed_in("owner")
    link = r'class="row" href="/keys/([0-9a-f-]+)"'
    for query in (row.prefix.rstrip("…"), "mira@"):
        assert rows_of(browser.get(f"/keys/?q={query}").text, link) == [str(row.id)]
    assert browser.get(f"/keys/?q={secret}").location == f"/keys/{row.id}"
    mistyped = browser.get(f"/keys/?q={secret[:-1]}0")
    assert secret[9:-1] not in mistyped.text


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_database_outage_is_explained_and_pages_recover(signed_in, postgres, any_database_url):
    browser = signed_in("owner")
    postgres.cut_off(any_database_url)
    answer = browser.get("/")
    assert (answer.status_code, "Database unavailable" in answer.text) == (503, True)
    assert answer.headers["Content-Security-Policy"]
    assert answer.headers["Retry-After"] == "5"
    assert browser.get("/healthz").status_code == 200
    postgres.reconnect(any_database_url)
    assert browser.get("/").status_code == 200


def test_an_unhandled_error_page_reveals_no_details(app, signed_in):
    def fail() -> str:
        raise RuntimeError("secret reason")

    app.add_url_rule("/fails", "fails", fail)
    answer = signed_in("owner").get("/fails")
    assert (answer.status_code, "Internal error" in answer.text, "secret reason" in answer.text) == (500, True, False)


def test_unknown_rows_are_not_found(signed_in):
    browser, unknown = signed_in("owner"), new_id()
    for path in (
        f"/accounts/{unknown}",
        f"/keys/{unknown}",
        f"/usage/{unknown}",
        f"/channels/{unknown}",
        "/models/id/none",
        "/x",
    ):
        answer = browser.get(path)
        assert (answer.status_code, "Not found" in answer.text) == (404, True), path
