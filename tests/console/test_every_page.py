"""Checks every page linked from the home page with `tests.page_checks`.

On a desktop in light mode and English, and on a phone in dark mode and German, whose words are longer.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.async_api import Page

from shared.core.clock import now_ms
from shared.models import EdgeProcess
from shared.operations.account_invitations import invite_to_account
from shared.operations.account_notes import add_note
from shared.operations.admin_keys import create_admin_key
from shared.operations.model_aliases import create_alias
from shared.operations.payments import PaymentTerms, order_credits, set_payment_settings
from shared.operations.plans import create_plan
from shared.operations.price_drafts import save_draft
from shared.operations.prices import Rates
from shared.operations.redeem_codes import create_codes
from shared.operations.subscriptions import subscribe
from tests import factories
from tests.console.conftest import Enter
from tests.console.test_pages import usage_row
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import DESKTOP, PHONE
from tests.shared.operations.test_media_jobs import open_job
from tests.workers.holds import HOUR_MS, Customer

pytestmark = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
AN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/payments/)[0-9a-f]{32}")
LOOKS = [{"viewport": DESKTOP, "scheme": "light"}, {"viewport": PHONE, "scheme": "dark", "locale": "de-DE"}]
APART = {"/login", "/login/code", "/login/oidc", "/login/oidc/callback", "/healthz", "/metrics"} | {
    *("/account/", "/members/", "/routes/"),  # these only redirect
}

LONG_MODEL = "laboratory/" + "x" * 48  # no place for a browser to break the line


@pytest.fixture
def console_settings() -> dict[str, Any]:
    """The console has the pages of emails only if they are not sent."""
    return {"smtp_url": "console"}


@pytest.fixture
def filled_database(bound_database) -> None:
    """At least one row of everything that staff can view."""
    channel = factories.channel("https://up.example/v1", name="east")
    factories.model("m-1", channel)
    factories.model(LONG_MODEL, channel)
    factories.model("m-2", factories.channel("https://api.openai.com/v1"), upstream_model="gpt-4o-mini")  # has a list price
    create_alias("old/m-1", "m-1", shutdown_at=now_ms() + HOUR_MS, origin=ORIGIN)
    save_draft("m-1", Rates(input=2_000, output=3_000), origin=ORIGIN)
    create_admin_key("terraform", ["accounts:read", "keys:write"], now_ms() + HOUR_MS, origin=ORIGIN)
    create_plan("Keeper", {"monthly_credits": 100}, origin=ORIGIN)
    create_codes(25, count=2, origin=ORIGIN)
    owner = factories.account(email=f"{'n' * 63}@department.of-a-company.example")
    factories.api_key(owner, name="the billing service of that company")
    subscribe(owner.id, "Keeper", origin=ORIGIN)
    terms = PaymentTerms("eur", 10_000, [500], 100, 100_000, invoices=True, bank_details="IBAN")
    set_payment_settings(terms, origin=ORIGIN)
    order_credits(owner.id, 100_000, "invoice", origin=ORIGIN)
    invite_to_account(f"{'e' * 63}@department.of-a-company.example", origin=ORIGIN)
    add_note(owner.id, "Asked for an invoice.", origin=ORIGIN)
    usage_row(owner, model="m-1", channel=channel.id, status="completed", credits=12)
    usage_row(owner, model="m-1", channel=channel.id, status="failed", credits=0)
    usage_row(owner, model=LONG_MODEL, channel=channel.id, status="completed", credits=3)
    customer = Customer()
    customer.hold(lasts_ms=-5, edge_process=EdgeProcess.create(host="here", pid=1).id)
    customer.hold(lasts_ms=HOUR_MS)
    open_job(customer)


def pages(app: Flask) -> set[str]:
    """The paths of all pages from the URL map; an id is ID, and a model's id is LONG_MODEL."""
    rules = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    confirmations = {rule for rule in rules if rule.endswith("/selected")}  # a form leads there
    files = {rule for rule in rules if rule.endswith((".csv", ".json", ":filename>"))}
    once = {rule for rule in rules if rule.endswith("<form_id>")}  # only a form leads there: see test_form_idempotency.py
    names = {"<path:model_id>": "m-1", "<path:alias_name>": "old/m-1"}
    kept = (re.sub("<uuid:[a-z_]+>|<reference>", "ID", rule) for rule in rules - files - once - confirmations - APART)
    return {re.sub("<path:[a-z_]+>", lambda found: names[found[0]], rule) for rule in kept}


async def table_edges(page: Page) -> tuple[str, str]:
    """The side on which the first table has a shadow, unscrolled and scrolled to its last column; "" without one."""
    sides = []
    for left in (0, 10_000):
        shadow: str = await page.evaluate(
            """async (left) => {
              const table = document.querySelector(".table");
              table.scrollLeft = left;
              await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
              return getComputedStyle(table).boxShadow;
            }""",
            left,
        )
        offsets = re.findall(r"(-?\d+)px 0px", shadow)
        sides.append("" if not offsets else "right" if float(offsets[0]) < 0 else "left")
    return sides[0], sides[1]


@pytest.mark.parametrize("look", LOOKS, ids=["desk", "phone"])
async def test_every_page_is_accessible(filled_database: None, app: Flask, enter: Enter, axe: str, look: dict[str, Any]) -> None:
    page = await enter("/", **look)
    home = page.url
    waiting, kinds = [home, f"{home}search/?q={'n' * 63}@department.of-a-company.example"], {"/", "/search/"}
    while waiting:
        address = waiting.pop()
        answer = await page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        path = urlsplit(address).path
        if not path.endswith("/html"):  # an email in a sandbox, in which axe cannot run
            await check_page(page, axe, f"console-{AN_ID.sub('id', path).strip('/').replace('/', '-') or 'home'}")
        for link in await page.eval_on_selector_all("a[href]:not([download])", "(all) => all.map((one) => one.href)"):
            kind = AN_ID.sub("ID", urlsplit(link).path)
            if link.startswith(home) and kind not in kinds and not kind.endswith(".csv"):
                kinds.add(kind)
                waiting.append(link)
    await page.goto(home)
    account, worry = page.locator(".who a[href='/me/']"), "document.querySelector('.figure.worry')"
    for place in (await account.bounding_box(), await page.locator(".who form").first.bounding_box()):
        assert place is not None
        assert place["x"] + place["width"] <= look["viewport"]["width"]
    failed = "getComputedStyle(document.querySelector('.chart-key li:nth-child(2)'), '::before').backgroundColor"
    assert await page.evaluate(failed) == await page.evaluate(f"getComputedStyle({worry}).color")  # failed calls are red
    await page.goto(f"{home}models/?flt1_status=active&sort=0")
    price = await page.locator("td.wide").first.bounding_box()
    assert price is not None
    assert price["x"] + price["width"] <= look["viewport"]["width"]
    edges = await table_edges(page)
    assert edges == (("right", "left") if look["viewport"] == PHONE else ("", ""))
    await page.check("[data-select-all]")
    await page.click("button[value=disable]")
    assert len(await page.query_selector_all("[name=rowid]")) == 3
    for action in ("publish", "disable"):
        await page.goto(f"{home}models/selected?action={action}&rowid=m-1&rowid={LONG_MODEL}")
        await check_page(page, axe, f"console-models-{action}")
    assert kinds - {f"/models/id/{LONG_MODEL}", "/models/id/m-2"} == pages(app)
