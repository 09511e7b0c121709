"""Checks every page, with content, with `tests.page_checks`.

On a desktop in light mode and English, and on a phone in dark mode and German, whose words are longer.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from quart import Quart

from edge.web.routes import web
from shared.core.clock import new_id, now_ms
from shared.identity.account_links import CANCEL_EMAIL, CONFIRM_EMAIL, VERIFY_EMAIL
from shared.identity.account_links import make_token as make_verification_token
from shared.models import Account, AIModel, Channel, MediaJob, Plan, Subscription, UsageLedger
from shared.operations.account_closing import certificate_token
from shared.operations.audit import Origin
from shared.operations.budgets import BudgetTerms, create_budget
from shared.operations.conversations import ChatMessage, begin_turn, store_turn
from shared.operations.email_changes import request_change
from shared.operations.form_idempotency import submit_once
from shared.operations.invitations import invitation_token, invite
from shared.operations.members import MemberTerms, add_member
from shared.operations.payments import PaymentTerms, order_credits, set_payment_settings
from shared.operations.people import sync_owner
from shared.operations.purges import begin_purge
from shared.operations.shares import share_messages
from shared.operations.web_accounts import create_password_link
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.conftest import COOKIE, Browser, Site
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import DESKTOP, PHONE
from tests.servers.edge import SECRET_KEY

SAID = [
    ChatMessage("user", "How do tides work? " * 12),
    ChatMessage("assistant", "| moon | sun |\n|-|-|\n| *strong* | `weak` |\n\n```\n" + "x" * 200),
]
LONG_MODEL = "laboratory/" + "x" * 48  # contains no point at which a browser can break the line
FILES = {
    *("/assets/<path:name>", "/robots.txt", "/sitemap.xml", "/docs/search.json"),
    *(
        "/account/export.json",
        "/calls.csv",
        "/calls/<id>/receipt.json",
        "/account/purge/<purge_id>/certificate.json",
        "/closed/<proof>/certificate.json",
    ),
}
FRAGMENTS = {"/account/media/price", "/account/media/jobs/<id>"}  # partials of the media page
PROVIDER = "/sign-in/<provider_id>"
REDIRECTS = {"/sign-in/code", PROVIDER, f"{PROVIDER}/callback"}  # pages only in the middle of a sign-in
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "yout@example.com", "public_url": "http://yout.test"}

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


@pytest.fixture(params=["desk", "phone"])
def look(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Viewport, color scheme and language of the page."""
    return (
        {"viewport": DESKTOP, "scheme": "light"}
        if request.param == "desk"
        else {"viewport": PHONE, "scheme": "dark", "locale": "de-DE"}
    )


def create_one_of_everything(member: Browser) -> dict[str, str]:
    """Give an account one row of everything; returns the values for the parameters of page paths, or for paths."""
    account = member.account
    assert account is not None
    plan = Plan.create(name=f"Keeper {account.email}", stores_content=True, monthly_credits=2_000_000, price_minor=900)
    Subscription.create(account=account, plan=plan)
    if not AIModel.select().where(AIModel.id == LONG_MODEL).exists():  # the site is shared by all tests here
        factories.model(LONG_MODEL, Channel.get())
    key, _ = factories.api_key(account, name="A key with a rather long name, of the billing service")
    keeping = begin_turn(account.id, None, stores=True, new_count=1)
    assert store_turn(keeping, SAID[:1], SAID[1].content, model="m-1", complete=True)
    share = share_messages(account.id, "Tides, and what the moon has to do with them", SAID)
    done = {"status": "failed", "progress": 0, "credits_held": 40_000, "credits_charged": 0, "finished_at": now_ms()}
    moments = {"due_at": now_ms(), "deadline_at": now_ms()}
    MediaJob.create(account=account, kind="image", model="image-1", price=uuid4(), error_code="provider_error", **done, **moments)
    with submit_once(account.id, "the-token-of-a-form", "x") as form:
        form.result = str(key.id)
        form.store_secret("yout-" + "x" * 43, member.cookies[COOKIE])
    colleague = add_member(
        account.id, f"{new_id().hex}{'c' * 31}@example.com", MemberTerms("developer", 500_000), origin=ORIGIN
    ).member
    terms = MemberTerms("viewer", None, 1_000)
    invitation = invite(account.id, f"{new_id().hex}{'i' * 31}@example.com", terms, sends_mail=False, origin=ORIGIN)
    token = create_password_link(account.email, SECRET_KEY, origin=Origin("operator:test")).token
    call = UsageLedger.create(
        account=account,
        model=LONG_MODEL,
        price=new_id(),
        status="failed",
        streamed=True,
        error_code="upstream_error",
        tag="t" * 64,
    )
    terms = PaymentTerms("usd", 1_000, [500], 100, 100_000, invoices=True, bank_details="IBAN DE02 1203")
    set_payment_settings(terms, origin=Origin("test"))
    order = order_credits(account.id, 500, "invoice", origin=Origin("test"))
    budget = create_budget(account.id, "tag", "t" * 64, "month", BudgetTerms(90_000), origin=Origin("test"))
    change = request_change(sync_owner(account.id).person.id, f"{new_id().hex}{'e' * 31}@example.com", origin=ORIGIN)
    assert change is not None
    linked = {
        f"/{path}/<link>": f"/{path}/{make_verification_token(SECRET_KEY, purpose, change.id, change.email, change.expires_at)}"
        for path, purpose in (("confirm-email", CONFIRM_EMAIL), ("cancel-email", CANCEL_EMAIL))
    }
    return linked | {
        "id": f"req_{call.id.hex}",
        "path:model_id": LONG_MODEL,
        "chapter": "errors",
        "section": "chat-completions",
        "key_id": str(key.id),
        "conversation_id": str(keeping.conversation),
        "slug": share.slug,
        "token": token,
        "member_id": str(colleague.id),
        "invitation_token": invitation_token(invitation, SECRET_KEY),
        "proof": certificate_token(begin_purge(factories.account().id, origin=Origin("test")), SECRET_KEY),
        "form_id": form.id,
        "reference": order.reference,
        "budget_id": str(budget.id),
        "link": make_verification_token(SECRET_KEY, VERIFY_EMAIL, account.id, account.email, now_ms() + 3_600_000),
    }


def pages() -> list[str]:
    """The paths of all pages, as in the URL map."""
    app = Quart(__name__)
    app.register_blueprint(web)
    rules = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and rule.endpoint != "static"}
    assert rules | {"/assets/<path:name>"} >= FILES | FRAGMENTS | REDIRECTS
    return sorted(rules - FILES - FRAGMENTS - REDIRECTS)


async def test_every_page_is_accessible(site: Site, open_page: OpenPage, axe: str, look: dict[str, Any]) -> None:
    member = site.member(email=f"{new_id().hex}{'n' * 31}@example.com", **MAIL)
    values = create_one_of_everything(member)
    page = await open_page(**look)
    await member.copy_session_to(page)
    for path in pages():
        filled = values.get(path, path)
        for name, value in values.items():
            filled = filled.replace(f"<{name}>", value)
        assert "<" not in filled, f"{path} needs a value"
        answer = await page.goto(site.edge(**MAIL).url + filled)
        assert answer is not None
        assert answer.status == 200, filled
        await check_page(page, axe, path.strip("/").replace("/", "-") or "front")
    await page.goto(f"{site.edge(**MAIL).url}/account/keys/created/{values['form_id']}")
    await check_page(page, axe, "account-keys-shown-already")


async def test_error_pages_are_accessible(site: Site, open_page: OpenPage, axe: str, look: dict[str, Any]) -> None:
    page = await open_page(**look)
    for path, status in {
        "/c/AAAAAAAAAAAAAAAAAAAAAA": 404,
        "/nowhere": 404,
        "/password/x": 404,
        "/verify-email/x": 404,
        "/confirm-email/x": 404,
        "/cancel-email/x": 404,
        "/sign-in": 200,
        "/sign-up": 200,
    }.items():
        answer = await page.goto(site.edge().url + path)
        assert answer is not None
        assert answer.status == status
        await check_page(page, axe, "stranger-" + path.strip("/").replace("/", "-"))
    page.problems.clear()  # type: ignore[attr-defined]  # a 404 is reported on the console


async def test_a_running_purge_is_accessible(site: Site, open_page: OpenPage, axe: str, look: dict[str, Any]) -> None:
    member = site.member()
    assert isinstance(member.account, Account)
    begin_purge(member.account.id, origin=Origin("test", ""))
    page = await open_page(**look)
    await member.copy_session_to(page)
    await page.goto(f"{site.edge().url}/account/data")
    await check_page(page, axe, "purge-under-way")
