"""Holds, jobs, the ledger and the audit trail: filters, actions, verification, and CSVs of exactly the filtered rows."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import redis

from console.views import ledger as ledger_view
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.ledger import post_entry
from shared.models import Account, AuditEntry, EdgeProcess, LedgerEntry, MediaJob
from shared.operations.accounts import adjust_credits
from shared.operations.audit import Origin
from tests import factories
from tests.console.test_home import figures_of
from tests.console.test_pages import all_matches, rows_of, usage_row
from tests.databases import allow_tampering
from tests.shared.operations.test_media_jobs import open_job, succeeded_job
from tests.workers.holds import AMOUNT, HOUR_MS, Customer, state_of

HOLD = r'class="row" href="/holds/([0-9a-f-]+)"'
JOB = r'class="row" href="/jobs/([0-9a-f-]+)"'


def csv_of(browser: Any, path: str) -> list[dict[str, str]]:
    answer = browser.get(path, buffered=True)
    assert (answer.status_code, answer.mimetype) == (200, "text/csv"), answer.text
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))


def test_stuck_holds_are_listed_first_and_filters_apply(signed_in):
    customer, other = Customer(), Customer()
    alive = EdgeProcess.create(host="here", pid=1).id
    dead = EdgeProcess.create(host="gone", pid=2, seen_at=now_ms() - HOUR_MS).id
    [running] = customer.hold(lasts_ms=HOUR_MS, edge_process=alive)
    [silent] = customer.hold(lasts_ms=HOUR_MS, edge_process=dead)
    [overdue] = other.hold(lasts_ms=-5)
    browser = signed_in("readonly")
    assert rows_of(browser.get("/holds/").text, HOLD) == [str(call) for call in (silent, overdue, running)]
    assert rows_of(browser.get("/holds/?state=running").text, HOLD) == [str(running)]
    assert rows_of(browser.get(f"/holds/?state=stuck&account={other.account}").text, HOLD) == [str(overdue)]
    assert browser.get("/holds/?state=odd").status_code == 400
    page = browser.get(f"/holds/{silent}").text
    assert "The call can no longer settle this hold" in page
    assert "/release" not in page, "readonly must not see the form"


def test_a_hold_is_released_once_even_if_submitted_twice(signed_in):
    customer = Customer(credits=1_000)
    [call_id] = customer.hold(lasts_ms=HOUR_MS)
    browser, page = signed_in("owner"), f"/holds/{call_id}"
    filled = {**browser.form(page, f"{page}/release"), "reason": "stuck since noon"}
    assert browser.post(f"{page}/release", {**filled, "reason": " "}).status_code == 422
    answer = browser.post(f"{page}/release", filled, follow_redirects=True)
    assert f"{AMOUNT} credits released" in answer.text
    assert "hold.release" in answer.text, "the receipt must list the staff action"
    again = browser.post(f"{page}/release", filled)
    assert (again.status_code, "closed already" in again.text) == (404, True)
    assert customer.account_row().balance == 1_000


def test_staff_settle_a_hold_for_at_most_the_held_amount(signed_in):
    customer = Customer(credits=1_000)
    [call_id] = customer.hold(lasts_ms=HOUR_MS)
    browser, page = signed_in("billing"), f"/holds/{call_id}"
    refused = browser.submit_form(page, f"{page}/settle", credits=str(AMOUNT + 1), reason="x")
    assert (refused.status_code, f"between 0 and {AMOUNT}" in refused.text) == (422, True)
    answer = browser.submit_form(page, f"{page}/settle", credits="30", reason="billed by the provider")
    assert "30 credits charged" in answer.text
    assert (state_of(call_id), customer.account_row().balance) == ("none", 970)
    assert "It may be closed already" in browser.get(page).text


def test_jobs_are_filtered_paged_and_exported(signed_in):
    customer, other = Customer(), Customer()
    first = [open_job(customer) for _ in range(2)]
    done = succeeded_job(other, 10)
    browser = signed_in("readonly")
    newest_first = [str(job) for job in sorted((*first, done), reverse=True)]
    assert all_matches(browser, "/jobs/", JOB) == newest_first
    for query, wanted in (
        ("status=succeeded", [str(done)]),
        (f"account={customer.account}", [str(job) for job in sorted(first, reverse=True)]),
        ("kind=video", []),
        ("model=m-1&since=2026-01-01", newest_first),
        ("until=2026-01-01", []),
    ):
        assert all_matches(browser, f"/jobs/?{query}", JOB) == wanted, query
        assert [line["job_id"] for line in csv_of(browser, f"/jobs/jobs.csv?{query}")] == wanted, query
    assert browser.get("/jobs/?status=odd").status_code == 400
    for path in ("/jobs/", f"/jobs/{first[0]}"):
        assert "sealed" not in browser.get(path).text


def test_staff_poll_fail_and_refund_a_job(signed_in):
    customer = Customer(credits=1_000)
    job, done = open_job(customer), succeeded_job(customer, 60)
    browser, page = signed_in("owner"), f"/jobs/{job}"
    assert "will check the job in its next sweep" in browser.submit_form(page, f"{page}/poll").text
    assert "its hold released" in browser.submit_form(page, f"{page}/fail", reason="provider down").text
    assert MediaJob.get_by_id(job).status == "failed"
    page = f"/jobs/{done}"
    assert "60 credits refunded" in browser.submit_form(page, f"{page}/refund", reason="blank").text
    assert "yout_credits_refunded_total 60.0" in browser.get("/metrics").text
    assert f"{page}/refund" not in browser.get(page).text
    assert Account.get_by_id(customer.account).balance == 1_000


def test_a_poll_is_queued_for_the_workers(bound_database, redis_url, make_settings, staff):
    from console.app import create_app
    from tests.console.conftest import Browser

    job = open_job(Customer())
    visitor = Browser(create_app(make_settings(redis_url=redis_url)).test_client())
    visitor.sign_in(staff("owner").email)
    assert "A worker is checking the job now" in visitor.submit_form(f"/jobs/{job}", f"/jobs/{job}/poll").text
    client = redis.Redis.from_url(redis_url)
    assert client.llen("dramatiq:media") == 1
    client.close()


@pytest.fixture
def untouched_ledger(bound_database) -> dict[str, Any]:
    first, second = factories.account(credits=1_000), factories.account(credits=2_000)
    used = usage_row(first, credits=5)
    with transaction():
        post_entry(first.id, "refund", 5, actor="worker", reason="=cmd()", call=used.id)
    adjust_credits(second.id, -300, "taken back", origin=Origin("ana@yout.example"))
    return {"first": first, "second": second, "used": used}


@pytest.fixture
def ledger(bound_database, untouched_ledger) -> dict[str, Any]:
    """With one entry of 2023, whose hash is wrong."""
    allow_tampering(bound_database)
    old = LedgerEntry.account == untouched_ledger["second"], LedgerEntry.seq == 1
    LedgerEntry.update(created_at=1_700_000_000_000).where(*old).execute()
    return untouched_ledger


def test_the_ledger_is_filtered_totaled_and_exported(signed_in, ledger):
    browser = signed_in("readonly")
    movement = r'class="(?:plus|minus)">([^<]+)</span></td>'
    for query, wanted in (
        ("", [-300, 5, 1_000, 2_000]),
        (f"account={ledger['second'].email}", [-300, 2_000]),
        ("kind=refund", [5]),
        ("actor=ana@yout.example", [-300]),
        (f"request={ledger['used'].id}", [5]),
        ("until=2024-01-01", [2_000]),
        ("kind=grant&since=2024-01-01", [1_000]),
    ):
        text = browser.get(f"/ledger/?{query}").text
        shown = [int(amount.replace("\u202f", "").replace("\u2212", "-")) for amount in rows_of(text, movement)]
        assert sorted(shown) == sorted(wanted), query
        lines = csv_of(browser, f"/ledger/ledger.csv?{query}")
        assert sorted(int(line["amount"]) for line in lines) == sorted(wanted), query
    assert {line["reason"] for line in csv_of(browser, "/ledger/ledger.csv?kind=refund")} == {"'=cmd()"}
    assert "Grant <small>2</small>" in browser.get("/ledger/?until=2100-01-01").text
    assert browser.get("/ledger/?kind=odd").status_code == 400
    assert browser.get(f"/ledger/?request={new_id()}").status_code == 404


def test_verifying_the_ledger_names_each_problem(signed_in, untouched_ledger, monkeypatch):
    browser = signed_in("support")
    token = browser.form("/ledger/", "/ledger/verify")
    assert "The ledger balances. Verified 2 accounts, 4 entries" in browser.post("/ledger/verify", token).text
    Account.update(balance=Account.balance + 7).where(Account.id == untouched_ledger["first"].id).execute()
    text = browser.post("/ledger/verify", token).text
    assert "The ledger does not balance" in text
    assert str(untouched_ledger["first"].id) in text
    monkeypatch.setattr(ledger_view, "run_with_timeout", lambda query, seconds=3.0: None)
    assert "yout ledger verify" in browser.post("/ledger/verify", token).text


def test_the_audit_trail_is_filtered_exported_and_read_only(app, signed_in, ledger):
    browser = signed_in("owner")
    for query, count in (
        ("action=credits.adjustment", 1),
        (f"target={ledger['first'].id}", 1),
        ("actor=test&action=account.create", 2),
        ("address=127.0.0.1&action=staff.sign_in", None),
        ("until=2024-01-01", 0),
    ):
        lines = csv_of(browser, f"/audit/audit.csv?{query}")
        shown = browser.get(f"/audit/?{query}").text.count('<dl class="change">')
        assert count in (None, len(lines)), query
        assert len(lines) == shown, query
    exported = csv_of(browser, "/audit/audit.csv?action=export.audit")
    assert len(exported) in (5, 6), "each export is audited too, so this one may be included"
    paths = [
        rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("audit.") and rule.methods & {"POST", "DELETE"}
    ]
    assert paths == []
    assert AuditEntry.select().where(AuditEntry.action == "export.audit").count() == 6


def test_home_figures_link_to_the_matching_lists(signed_in, ledger):
    text = signed_in("owner").get("/").text
    assert figures_of(text)["Refunded today"] == "5"
    for link in ("/ledger/?kind=refund", "/jobs/?status=queued", "/jobs/?status=failed"):
        assert f'href="{link}"' in text
