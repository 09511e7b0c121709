"""`/trust`: off by default; then it shows only verified reports, and does not hide missing, old and failed ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from edge.api.trust import MAX_PROOF_AGE_MS
from edge.web.trust import period
from shared.core import signing
from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.ledger.seal import seal_ledger
from shared.operations.plans import create_plan
from shared.operations.proof_reports import read_report, sign_report, store_report
from tests.conftest import OpenPage
from tests.edge.web.conftest import Site
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.edge import SECRET_KEY

CAP: dict[str, Any] = {"calls": 400, "overdraft": 0, "lost": 0, "doubled": 0, "problems": [], "surfaces": {}}
HIT = {"canary": "prompt", "form": "base64", "place": "database: usage_ledger.tag"}
NEW_EDGE: dict[str, Any] = {"media_link_seconds": 600}  # the page of another may be a minute old
PRIVACY: dict[str, Any] = {"canaries": ["prompt"], "places": [], "hits": [], "kept": [], "requests": 900}


@pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
def test_the_page_is_off_until_it_is_switched_on(site: Site) -> None:
    browser = site.browser(trust_page=False)
    assert [browser.get(path).status for path in ("/trust", "/trust.json")] == [404, 404]
    assert all(b"/trust" not in browser.get(path).body for path in ("/models", "/sitemap.xml"))


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "passed"),
        ({"lost": 1}, "failed"),
        ({"id": "yout-privacy-check"}, "invalid"),
        ({"finished_at": "soon"}, "invalid"),
        ({"overdraft": None, "lost": None, "doubled": None}, "failed"),
    ],
)
def test_signed_reports_are_judged_by_their_results(
    make_settings: Callable[..., Settings], change: dict[str, Any], state: str
) -> None:
    settings = make_settings()
    key = signing.public_key(settings.secret_key, signing.PROOF_REPORT)
    report = sign_report("prove-cap", 0, 1_800_000_000_000, CAP | change, settings)
    store_report("prove-cap", report, settings)
    found = read_report("prove-cap", open_storage(settings), key)
    assert (found.state, found.report is None) == (state, state == "invalid")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"id": "yout-prove-cap"}', b"\xff"])
def test_other_documents_are_not_reports(make_settings: Callable[..., Settings], data: bytes) -> None:
    settings = make_settings()
    key, storage = signing.public_key(settings.secret_key, signing.PROOF_REPORT), open_storage(settings)
    assert read_report("prove-cap", storage, key).state == "missing"
    storage.put_document("reports/prove-cap.json", data)
    assert read_report("prove-cap", storage, key).state == "invalid"
    report = sign_report("prove-cap", 0, 0, CAP, settings)
    storage.put_document("reports/prove-cap.json", json.dumps(report | {"calls": 401}).encode())
    assert read_report("prove-cap", storage, key).state == "invalid"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"days": 0}, "not stored"),
        ({"days": 1}, "1 day"),
        ({"until": "purged"}, "until you delete your data"),
        ({"days": 30, "plan_days": [90]}, "30 days; on some plans 90 days"),
        ({"until": "purged", "plan_days": [30, 60, 90]}, "until you delete your data; on some plans 30 to 90 days"),
    ],
)
def test_periods_are_in_words(row: dict[str, Any], text: str) -> None:
    assert period(row) == text


@pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
async def test_what_the_page_shows(
    site: Site, open_page: OpenPage, axe: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """A visitor reads it on a desktop and, in German, on a phone; a program checks a report."""
    now = now_ms()
    settings = make_settings(data_dir=site.settings["data_dir"], secret_key=SECRET_KEY)
    finished = now - MAX_PROOF_AGE_MS - 1000
    store_report("prove-cap", sign_report("prove-cap", finished, finished, CAP, settings), settings)
    found = PRIVACY | {"hits": [HIT]}
    store_report("privacy-check", sign_report("privacy-check", now, now, found, settings), settings)
    create_plan("internal-name", {"media_days": 90, "usage_days": 45, "stores_content": True}, origin=ORIGIN)
    head = seal_ledger(now, SECRET_KEY, "https://edge.example")["head"]
    edge = site.edge(**NEW_EDGE)
    page = await open_page()
    await page.goto(f"{edge.url}/models")
    await page.click("footer >> text=What you can check")
    await expect(page.locator("#prove-cap .state")).to_have_text("passed, but old")
    await expect(page.locator("#privacy-check .state")).to_have_text("failed")
    await expect(page.locator("#privacy-check")).to_contain_text(HIT["place"])
    await expect(page.locator("#ledger")).to_contain_text(head["root"])
    await expect(page.locator("#retention")).to_contain_text("30 days; on some plans 90 days")
    await expect(page.locator("#retention")).to_contain_text("for two minutes")
    await expect(page.locator("#providers tbody tr")).to_have_count(1)
    await expect(page.locator("#uptime")).to_contain_text("too few calls")
    await page.click("#prove-cap summary")
    await check_page(page, axe, "trust")
    phone = await open_page(viewport=PHONE)
    await phone.goto(f"{edge.url}/trust")
    await phone.click("text=Deutsch")
    await expect(phone.locator("h1")).to_have_text("Was Sie prüfen können")
    await check_page(phone, axe, "trust-german")

    browser = site.browser(**NEW_EDGE)
    for path, shown in (("/trust?done=signed-out", True), ("/trust", False)):  # the kept page has nobody's message
        assert (b"You have been signed out." in browser.get(path).body) == shown
    answer = browser.get("/trust.json")
    document = answer.json
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert [(proof["state"], proof["is_old"]) for proof in document["proofs"]] == [("passed", True), ("failed", False)]
    assert (document["ledger"]["state"], document["ledger"]["seal"]["head"]) == ("valid", head)
    [provider] = document["providers"]  # other tests add models of other kinds
    assert (provider["is_on_own_network"], provider["stores_no_calls"], "chat" in provider["kinds"]) == (True, False, True)
    assert not any(secret in answer.body.decode() for secret in ("internal-name", site.upstream.url, "sk-"))
    store_report("prove-cap", sign_report("prove-cap", now, now, CAP, settings), settings)
    assert browser.get("/trust.json").body == answer.body  # it is renewed once a minute
    member = site.member(**NEW_EDGE)
    assert member.account is not None
    assert member.account.email.encode() in member.get("/trust").body
    assert member.account.email.encode() not in browser.get("/trust").body


@pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
def test_the_page_ignores_the_host_that_a_proxy_passes_on(site: Site) -> None:
    """All readers get the same page, also after a request with another host."""
    browser = site.browser(**NEW_EDGE)
    forged = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    answers = [browser.get(path, headers=forged) for path in ("/trust.json", "/trust")]
    assert [answer.status for answer in answers] == [200, 200]
    assert json.loads(answers[0].body)["issuer"].startswith("http://127.0.0.1:")
    assert b"curl -s https://evil.example" not in answers[0].body + answers[1].body
    assert b'rel="canonical" href="http://127.0.0.1:' in answers[1].body
