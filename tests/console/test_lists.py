"""Lists of small tables: search, filters, sorting, bulk actions by role, and export."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from typing import Any

import pytest

from shared.models import AIModel, AuditEntry, Channel, Plan, Price, PriceDraft, RedeemCode, StaffUser
from shared.operations.catalog import set_model_status
from shared.operations.plans import create_plan
from shared.operations.price_drafts import save_draft
from shared.operations.prices import Rates
from shared.operations.redeem_codes import create_codes
from tests import factories
from tests.console.conftest import Browser
from tests.factories import ORIGIN


@pytest.fixture
def models(bound_database: Any) -> None:
    channel = factories.channel("https://up.example/v1", name="east")
    for id in ("alpha", "beta", "gamma/one"):
        factories.model(id, channel)
    AIModel.update(owned_by="lab", kind="embedding").where(AIModel.id == "beta").execute()
    AIModel.update(description="The largest one").where(AIModel.id == "alpha").execute()
    set_model_status("gamma/one", "disabled", origin=ORIGIN)


def names(browser: Browser, path: str) -> list[str]:
    """The rows of a list of models, in order."""
    return re.findall(r'class="row" href="/models/id/([^"]*)"', browser.get(path).text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["alpha", "beta", "gamma/one"]),
        ("search=LARGEST", ["alpha"]),
        ("search=a gamma", ["gamma/one"]),
        ("search=lab", ["beta"]),
        ("search=100%25", []),
        ("flt0_kind=embedding", ["beta"]),
        ("flt0_kind=&flt1_status=disabled&flt2_owned_by=", ["gamma/one"]),
        ("flt2_owned_by=lab&flt1_status=disabled", []),
        ("flt3_is_free=yes", []),
        ("show=disabled", ["gamma/one"]),
        ("sort=0&desc=1", ["gamma/one", "beta", "alpha"]),
        ("sort=2", ["alpha", "beta", "gamma/one"]),
    ],
)
def test_models_are_found_by_search_and_filters_in_the_url(signed_in: Any, models: None, query: str, expected: list[str]) -> None:
    assert names(signed_in("readonly"), f"/models/?{query}") == expected


def test_filters_are_shown_as_chips_that_remove_them(signed_in: Any, models: None) -> None:
    browser = signed_in("readonly")
    page = browser.get("/models/?search=a&flt0_kind=&flt1_status=active&show=").text
    chips = [unescape(url) for url in re.findall(r'class="chip" href="([^"]*)"', page)]
    assert sorted(chips) == ["/models/?flt1_status=active", "/models/?search=a"]
    assert "No rows match" in browser.get("/models/?search=nothing").text
    assert "Invalid Filter Value" in browser.get("/models/?flt1_status=odd").text


@pytest.mark.parametrize("path", ["/models/", "/aliases/"])  # the latter has no filters
def test_a_url_with_unknown_filters_or_impossible_pages_shows_the_list(signed_in: Any, models: None, path: str) -> None:
    browser = signed_in("readonly")
    for query in ("flt0_status_=x&flt0_secret=x&flt1=x", "page=99999999999999999999", "page=-1", "page_size=-1&sort=-99"):
        assert browser.get(f"{path}?{query}").status_code == 200, query
    assert names(browser, "/models/?page=-1") == ["alpha", "beta", "gamma/one"]


def test_selected_models_are_disabled_after_a_confirmation(signed_in: Any, models: None) -> None:
    browser = signed_in("support")
    page = browser.get("/models/").text
    assert re.findall(r'name="action" value="(\w+)"', page) == ["disable", "enable"]  # billing publishes prices
    confirm = "/models/selected?action=disable&rowid=alpha&rowid=beta&rowid=no-such"
    asked = browser.get(confirm).text
    assert "Disable 2 models" in asked
    assert not AIModel.select().where(AIModel.status == "disabled", AIModel.id == "alpha").exists()
    hidden = browser.form(confirm, "/models/selected/disable")
    done = browser.post("/models/selected/disable", {**hidden, "rowid": ["alpha", "beta"]}, follow_redirects=True)
    assert "2 rows changed." in done.text
    assert {row.id for row in AIModel.select().where(AIModel.status == "active")} == set()
    assert AuditEntry.select().where(AuditEntry.action == "model.status", AuditEntry.actor == "support@yout.example").count() == 2
    assert browser.get("/models/selected?action=publish&rowid=alpha").status_code == 404
    assert browser.get("/models/selected?action=delete&rowid=alpha").status_code == 404  # the library's own action
    assert browser.post("/models/selected/publish", {**hidden, "rowid": "alpha"}).status_code == 403
    assert 'name="rowid"' not in signed_in("readonly").get("/models/").text


def test_selected_drafts_are_published_as_reviewed(signed_in: Any, models: None) -> None:
    for id, credits in (("alpha", 7_000), ("beta", 8_000)):
        save_draft(id, Rates(input=credits, output=credits), origin=ORIGIN)
    browser = signed_in("billing")
    review = "/models/selected?action=publish&rowid=alpha&rowid=beta&rowid=gamma/one"
    page = browser.get(review).text
    fields = {name: [unescape(value) for value in re.findall(rf'name="{name}" value="([^"]*)"', page)] for name in SEEN}
    assert fields["rowid"] == ["alpha", "beta"]  # gamma/one has no draft
    assert ("7\u202f000" in page, "Publish 2 prices" in page) == (True, True)
    none = browser.get("/models/selected?action=discard&rowid=gamma/one", follow_redirects=True).text
    assert "None of the selected models has a draft price." in none
    save_draft("beta", Rates(input=9, output=9), origin=ORIGIN)  # after the review
    token = browser.form(review, "/models/selected/publish")["csrf_token"]
    done = browser.post("/models/selected/publish", {**fields, "csrf_token": token}, follow_redirects=True).text
    assert "1 row changed." in done
    assert "beta: The price has changed since you opened this page." in done
    assert [row.model_id for row in PriceDraft.select()] == ["beta"]
    assert Price.select().order_by(Price.effective_at.desc()).first().credits_per_1k_input == 7_000


SEEN = ("rowid", "seen_draft", "seen_price")


def test_the_export_has_the_filtered_rows_and_is_recorded(signed_in: Any, models: None) -> None:
    AIModel.update(owned_by="=lab").where(AIModel.id == "beta").execute()
    create_plan("=HYPERLINK(1)", {"monthly_credits": 5}, origin=ORIGIN)
    browser = signed_in("readonly")
    answer = browser.get("/models/export.csv?flt0_kind=embedding", buffered=True)
    assert answer.headers["Content-Disposition"] == "attachment;filename=models.csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["Model"], row["Kind"], row["Channels"]) for row in rows] == [("beta", "embedding", "east")]
    assert AuditEntry.get(AuditEntry.action == "export.models").after == {"flt0_kind": "embedding"}
    assert "'=HYPERLINK(1)" in browser.get("/plans/export.csv").text
    browser.get("/channels/export.csv?search=yout-AbCd0123456789", buffered=True)
    assert AuditEntry.get(AuditEntry.action == "export.channels").after == {"search": "yout-AbCd…"}


def test_every_list_selects_exports_and_changes_rows_without_secrets(signed_in: Any, models: None) -> None:
    browser = signed_in("owner")
    plan = create_plan("Pro", {"monthly_credits": 5}, origin=ORIGIN)
    batch = create_codes(25, count=2, origin=ORIGIN).row
    channel, person = Channel.get(), StaffUser.get()
    for path, row, action in (
        ("/plans/", plan.id, "close"),
        ("/codes/", batch.id, "void"),
        ("/channels/", channel.id, "disable"),
        ("/staff/", person.id, "disable"),
    ):
        page = browser.get(path).text
        assert f'value="{row}"' in page
        export = browser.get(f"{path}export.csv").text
        assert len(export.splitlines()) == 2
        for secret in (person.password_hash, channel.sealed_secret or "sealed"):
            assert secret not in page + export
        confirm = f"{path}selected?action={action}&rowid={row}"
        done = browser.post(f"{path}selected/{action}", browser.form(confirm, f"{path}selected/{action}"), follow_redirects=True)
        assert ("1 row changed." in done.text) == (path != "/staff/"), done.text  # the last owner cannot be disabled
        assert "Select at least one row." in browser.get(f"{path}selected?action={action}&rowid=x", follow_redirects=True).text
    assert Plan.get_by_id(plan.id).status == Channel.get().status == "disabled"
    assert RedeemCode.select().where(RedeemCode.voided_at.is_null(False)).count() == 2
    assert StaffUser.get().status == "active"


def test_the_librarys_own_pages_of_rows_are_not_served(app: Any) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    for view in ("models", "channels", "plans", "codes", "staff", "aliases"):
        unused = ("index_view", "create_view", "edit_view", "details_view", "delete_view", "action_view", "export", "ajax_update")
        assert not endpoints & {f"{view}.{name}" for name in unused}
