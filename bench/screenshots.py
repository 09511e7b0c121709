"""Screenshots of every page, on a desktop and on a phone, in light and dark, in every language, with contact sheets.

    python -m bench.screenshots FOLDER [--only TEXT] [--languages en de] [--sizes desk phone] [--schemes light dark]

Starts an edge, a console and a scripted provider with a database that has rows for every page, and follows every link as a
visitor, a member and staff. The screenshots are in `FOLDER/<size>-<scheme>-<language>/`, the contact sheets in `FOLDER/sheets/`.
The command exits with 1 if a page is missing, fails, or is wider than the screen. How pages look must be judged by eye.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import pyotp
from PIL import Image, ImageDraw
from playwright.async_api import Browser, Page
from quart import Quart

from edge.web.routes import web
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database
from shared.core.settings import Settings
from shared.identity.account_links import CANCEL_EMAIL, CONFIRM_EMAIL, VERIFY_EMAIL, make_token
from shared.identity.passwords import hash_password
from shared.ledger import post_entry
from shared.ledger.seal import seal_ledger
from shared.mail.outbox import queue_mail
from shared.models import (
    Account,
    Budget,
    Channel,
    ChannelComparison,
    EdgeProcess,
    MediaJob,
    OutgoingMail,
    OverageEntry,
    Payment,
    PersonIdentity,
    PersonPasskey,
    ProbeSum,
    UsageLedger,
)
from shared.operations import plan_purchases
from shared.operations.account_closing import certificate_token
from shared.operations.account_invitations import invite_to_account
from shared.operations.account_notes import add_note
from shared.operations.admin_keys import create_admin_key, revoke_admin_key
from shared.operations.audit import Origin
from shared.operations.budgets import BudgetTerms, create_budget
from shared.operations.conversations import ChatMessage, begin_turn, store_turn
from shared.operations.email_changes import request_change
from shared.operations.invitations import invitation_token, invite
from shared.operations.members import MemberTerms, add_member
from shared.operations.model_aliases import create_alias
from shared.operations.payments import (
    PaymentTerms,
    TopUpTerms,
    order_credits,
    set_payment_settings,
    set_top_up,
    unpaid_bills,
)
from shared.operations.people import sync_owner
from shared.operations.plans import create_plan, find_plan
from shared.operations.price_drafts import save_draft
from shared.operations.prices import Rates
from shared.operations.proof_reports import sign_report, store_report
from shared.operations.purges import begin_purge
from shared.operations.redeem_codes import create_codes
from shared.operations.second_factor import PEOPLE, new_secret
from shared.operations.shares import share_messages
from shared.operations.staff import create_staff
from shared.operations.subscriptions import set_own_overage, subscribe
from shared.operations.web_accounts import create_password_link, create_session, sign_up
from shared.payments.orders import Fact, record_fact
from shared.payments.overage_bills import create_bill_payments
from shared.payments.webhooks import record_event
from shared.probes.evidence import Differences, Evidence
from shared.rollup.write import update_sums
from shared.text.translation import LANGUAGES
from tests import factories, stripe_events
from tests.databases import opened
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.browser import DESKTOP, PHONE, chromium, open_page
from tests.servers.edge import SECRET_KEY, environment_of, start_console, start_edge
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import stream
from tests.workers.holds import HOUR_MS, Customer

SIZES = {"desk": DESKTOP, "phone": PHONE}
SCHEMES = ("light", "dark")
PASSWORD = "correct horse battery staple"
STAFF = "owner@yout.example"
SECOND_FACTOR_PERSON = "edsger.dijkstra@example.com"
ISSUER = "https://login.example.com"
ORIGIN = Origin("operator:screenshots")
QUESTION = "How do tides work? Answer with a table and a formula."
ANSWER = """Tides are the **gravity** of the moon and the sun at work.

| Body | Share |
| --- | ---: |
| Moon | 69 % |
| Sun | 31 % |

```python
def force(mass, distance):
    return G * mass / distance**2
```

The force falls with the square: $F = G m / r^2$.

$$
\\int_0^{2\\pi} \\cos^2 \\theta \\, d\\theta = \\pi
$$
"""
KINDS: dict[str, dict[str, Any]] = {
    "gpt-4o-mini": {"input": 150, "output": 600, "cached_input": 75, "context_window": 128_000, "provider": "openai"},
    "smollm2-135m-instruct": {"input": 1, "output": 2, "is_free": True, "context_window": 8_192},
    "laboratory/a-model-with-a-rather-long-name-2026-11-30": {"input": 3_000, "output": 15_000, "context_window": 1_000_000},
    "text-embedding-3-small": {"kind": "embedding", "input": 20, "output": 0},
    "image-1": {"kind": "image", "input": 0, "output": 0, "per_call": 40_000},
    "video-1": {"kind": "video", "input": 0, "output": 0, "per_5_seconds": 1_200_000},
    "tts-1": {"kind": "speech", "input": 0, "output": 0, "per_1k_characters": 15_000},
    "rerank-v3.5": {"kind": "rerank", "input": 0, "output": 0, "per_call": 2_000},
}
ERRORS = (None, None, None, None, "upstream_timeout", None, None, "upstream_error")
DAYS = 20
CALLS_PER_DAY = 9
MAX_HEIGHT = 4_000  # of a screenshot on a sheet, in pixels of the page; the rest is cropped
SHEETS = {"desk": (2, 2, 900), "phone": (5, 1, 390)}  # columns, rows, and the width of a screenshot
SHEET_HEIGHT = 1_500
IDS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{27}|req_[0-9a-f]{32}|(?<=/orders/)[0-9a-f]{32}|(?<=/payments/)[0-9a-f]{32}|(?<=/c/)[\w-]{22}"
)
FILES = re.compile(
    r"\.(json|csv|xml|txt|pem)$|^/assets/|^/api/|^/v1/|^/sign-in/(github|oidc|<provider_id>)|/sign-out$|/logout$|/account/media/(price|jobs/)"
)


class Look(NamedTuple):
    """Size and language of a set of screenshots."""

    size: str
    language: str


class Seed(NamedTuple):
    """URLs and sessions of the seeded rows."""

    session: str
    second_factor_session: str  # of a person who must enter codes
    visitor_paths: list[str]
    member_paths: list[str]
    console_paths: list[str]


def seed(upstream: Upstream) -> Seed:
    """Fill the bound database with rows for everything that pages show."""
    probed: dict[str, Any] = {"daily_probes": 48, "daily_probe_credits": 20_000, "lowers_weight_when_different": True}
    channel = factories.channel(upstream.url, name="west", **probed)
    second = factories.channel("https://api.openai.com/v1", name="openai-eu", is_reference=True)
    for name, options in KINDS.items():
        values = {key: value for key, value in options.items() if key != "provider"}
        factories.model(name, channel, *([second] if "provider" in options else []), **values)
    factories.model("gpt-4.1", second, input=2_000, output=8_000, upstream_model="gpt-4.1", costs=(2_100, 8_000))
    create_alias("gpt-4", "gpt-4o-mini", shutdown_at=now_ms() + 24 * HOUR_MS, origin=ORIGIN)
    save_draft("gpt-4o-mini", Rates(input=165, output=660), origin=ORIGIN)
    sold = {"self_service": True, "overage_allowed": True, "owner_overage_cap": 5_000_000}
    create_plan("Studio", {"monthly_credits": 2_000_000, "price_cents": 900, "stores_content": True, **sold}, origin=ORIGIN)
    create_plan("Enterprise", {"monthly_credits": 90_000_000, "price_cents": 39_900, "rpm": 3_000, **sold}, origin=ORIGIN)
    create_codes(25_000, count=3, note="Workshop", origin=ORIGIN)
    member = sign_up("ada.lovelace@example.com", "known to nobody", 500_000)
    subscribe(member.id, "Studio", origin=ORIGIN)
    add_member(member.id, "alan.turing@example.com", MemberTerms("developer", 100_000, 10_000), origin=ORIGIN)
    invited = invite(member.id, "mary.somerville@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    add_note(member.id, "Asked for an invoice for November.", origin=ORIGIN)
    key, _ = factories.api_key(member, name="production")
    factories.api_key(member, name="A key with a rather long name, of the billing service", rpm=60, monthly_credit_limit=100_000)
    factories.account(email=f"{'n' * 40}@department.of-a-company.example")
    calls = [usage_row(member, key.id, channel.id, number) for number in range(DAYS * CALLS_PER_DAY)]
    alerts(member, key.id)
    customer = Customer()
    customer.hold(lasts_ms=-5, edge_process=EdgeProcess.create(host="here", pid=1).id)
    customer.hold(lasts_ms=HOUR_MS)
    media_jobs(member)
    comparisons(channel, second)
    said = [ChatMessage("user", QUESTION), ChatMessage("assistant", ANSWER)]
    store_turn(begin_turn(member.id, None, stores=True, new_count=1), said[:1], ANSWER, model="gpt-4o-mini", complete=True)
    share = share_messages(member.id, "Tides, and what the moon has to do with them", said)
    payments(member)
    update_sums(now_ms(), 60)
    session = create_session(member.id, "Firefox on Linux", password_hash="known to nobody").secret
    verify = make_token(SECRET_KEY, VERIFY_EMAIL, member.id, member.email, now_ms() + HOUR_MS)
    closed = certificate_token(begin_purge(factories.account().id, origin=ORIGIN), SECRET_KEY)
    invitation = invitation_token(invited, SECRET_KEY)
    invite_to_account("katherine.johnson@example.com", sign_up_credits=50_000, origin=ORIGIN)
    create_admin_key("terraform", ["accounts:read", "keys:write", "plans:read"], now_ms() + 30 * 24 * HOUR_MS, origin=ORIGIN)
    revoke_admin_key(str(create_admin_key("old-script", ["all"], origin=ORIGIN).row.id), origin=ORIGIN)
    return Seed(
        session,
        second_factor_session(),
        [
            *("/sign-in", "/sign-up", "/nowhere", "/c/missing", "/password/x", "/verify-email/x", "/confirm-email/x"),
            *(f"/c/{share.slug}", f"/verify-email/{verify}", f"/closed/{closed}", f"/invitation/{invitation}"),
            *(unverified_login(), *email_change(member)),
        ],
        [f"/calls/req_{calls[0].hex}", "/accounts", "/account/leave", "/account/security"],
        [f"/usage/{calls[0]}", f"/channels/{channel.id}", "/search/?q=nothing", "/search/?q=alan.turing@example.com"],
    )


def second_factor_session() -> str:
    """Create an account whose owner has a second factor, a passkey and identities. Returns a session."""
    password_hash = hash_password(PASSWORD)
    account = sign_up(SECOND_FACTOR_PERSON, password_hash, 0)
    person = sync_owner(account.id).person.id
    secret = new_secret()
    code = pyotp.TOTP(secret).now()
    PEOPLE.enroll(person, secret, code, secret_key=SECRET_KEY, origin=ORIGIN)
    other_sign_ins(person)
    add_member(account.id, "barbara.liskov@example.com", MemberTerms("admin"), origin=ORIGIN)
    return str(create_session(account.id, "Firefox on Linux", password_hash=password_hash).secret)


def other_sign_ins(person: Any) -> None:
    """Give a person a passkey, and an identity at each provider."""
    PersonPasskey.create(person=person, credential=new_id().hex, public_key=b"", sign_count=0, name="Firefox on Linux")
    for issuer in ("https://github.com", ISSUER):
        PersonIdentity.create(person=person, issuer=issuer, subject=new_id().hex, email="a.person@example.com")


def unverified_login() -> str:
    """Create a login whose address was never verified. Returns the path of its password link, which lists what was set up."""
    account = factories.account(email="grace@example.com")
    person = sync_owner(account.id).person.id
    factories.api_key(account, name="laptop")
    other_sign_ins(person)
    add_member(account.id, "someone.else@example.com", MemberTerms("admin"), origin=ORIGIN)
    invite(account.id, "another.person@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    return f"/password/{create_password_link(account.email, SECRET_KEY, origin=ORIGIN).token}"


def email_change(member: Account) -> list[str]:
    """Request another email address for a member. Returns the paths that confirm and cancel the change."""
    person = sync_owner(member.id).person.id
    change = request_change(person, "augusta.ada.king@lovelace.example", origin=ORIGIN)
    assert change is not None
    tokens = [
        make_token(SECRET_KEY, purpose, change.id, change.email, change.expires_at) for purpose in (CONFIRM_EMAIL, CANCEL_EMAIL)
    ]
    return [f"/confirm-email/{tokens[0]}", f"/cancel-email/{tokens[1]}"]


def usage_row(member: Account, key: Any, channel: Any, number: int) -> Any:
    """Create a past call. Returns its id."""
    models, error = list(KINDS)[:3], ERRORS[number % len(ERRORS)]
    tokens = 0 if error else 120 + number * 37 % 4_000
    row = UsageLedger.create(
        id=new_id(),
        account=member,
        api_key=key if number % 3 else None,
        model=models[number % 3],
        channel=channel,
        price=uuid4(),
        status="failed" if error else "completed",
        error_code=error,
        failed_attempts="status_503,timeout" if error else None,
        streamed=bool(number % 2),
        input_tokens=tokens,
        output_tokens=tokens // 3,
        credits=tokens // 4,
        attempts=2 if error else 1,
        first_token_ms=None if error else 180 + number % 200,
        duration_ms=1_200 + number * 13 % 3_000,
        created_at=now_ms() - number * 24 * HOUR_MS // CALLS_PER_DAY,
        tag="team:search" if number % 4 else None,
    )
    return row.id


def comparisons(channel: Channel, reference: Channel) -> None:
    """Probes of a model on a channel that differs from its reference."""
    run = Evidence(31, {"answers": Differences(16, 14, 0), "token_counts": Differences(31, 0, 0)})
    values = {"channel": channel.id, "model": "gpt-4o-mini"}
    ChannelComparison.create(
        **values,
        reference=reference.id,
        verdict="different",
        compared_at=now_ms() - 30 * HOUR_MS,
        evidence=Evidence(12, {"answers": Differences(6, 3, 1)}).to_json(),
        verdict_evidence=run.to_json(),
    )
    for number in range(20):
        day = now_ms() - now_ms() % (24 * HOUR_MS) - number * 24 * HOUR_MS
        probes = ProbeSum(**values, day=day, kind="probes", probes=48, failed=number % 3, provider_cost=6_300)
        answers = ProbeSum(**values, day=day, kind="answers", probes=24, differing=14 if number < 4 else number % 2)
        answers.passed, answers.reference_passed, answers.reference_differing = 15, 44, number % 3 == 0
        for row in (probes, answers, ProbeSum(**values, day=day, kind="token_counts", probes=48)):
            row.save(force_insert=True)


def alerts(member: Account, key: Any) -> None:
    """Create budgets, a payment and emails."""
    slack = "https://hooks.slack.com/services/T00/B00/x"
    for scope, target, credits, spent in (
        *(("account", "", 1_000_000, 815_000), ("key", str(key), 100_000, 4_200), ("tag", "team:search", 50_000, 61_000)),
        *(("member", str(member.id), 20_000, 0), ("balance", "", 600_000, 500_000)),
    ):
        terms = BudgetTerms(credits, webhook_url=slack if scope == "account" else None)
        row = create_budget(member.id, scope, target, "month", terms, origin=ORIGIN)
        Budget.update(spent=spent, spent_at=now_ms()).where(Budget.id == row.id).execute()
    Payment.create(provider="stripe", reference="pi_3PZ1kc2eZvKYlo2C0FNBzVwd", account=member, credits=250_000)
    queue_mail(member.id, "receipt", member.email, subject="stripe:pi_3PZ1kc2eZvKYlo2C0FNBzVwd")
    queue_mail(member.id, "low_balance", member.email)
    OutgoingMail.update(attempts=2, last_error="451 4.7.1 Greylisted, try again").where(OutgoingMail.kind == "receipt").execute()


def media_jobs(member: Account) -> None:
    """Create media jobs in each state."""
    for number, (status, error) in enumerate((("running", None), ("failed", "provider_error"), ("cancelled", None))):
        ended = None if status == "running" else now_ms()
        MediaJob.create(
            account=member,
            kind=("image", "video", "speech")[number],
            model=("image-1", "video-1", "tts-1")[number],
            price=uuid4(),
            status=status,
            error_code=error,
            progress=40,
            credits_held=40_000,
            credits_charged=None if ended is None else 0,
            finished_at=ended,
            due_at=now_ms() + HOUR_MS,
            deadline_at=now_ms() + HOUR_MS,
        )


class Camera:
    """Takes the screenshots of one size and language: each page in every scheme. Collects the faults of pages."""

    def __init__(self, folder: Path, look: Look, schemes: list[str], only: str) -> None:
        self.folder, self.look, self.schemes, self.only = folder, look, schemes, only
        self.faults: list[str] = []
        self.taken: set[str] = set()

    async def take(self, page: Page, name: str) -> None:
        """Save the page as it is now, in every scheme."""
        if self.only not in name or name in self.taken:
            return
        self.taken.add(name)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.faults.append(f"{self.look.size} {self.look.language}: {name} is wider than the screen")
        for scheme in self.schemes:
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            path = self.folder / f"{self.look.size}-{scheme}-{self.look.language}" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            await page.screenshot(path=path, full_page=True, animations="disabled")

    async def crawl(self, page: Page, who: str, url: str, paths: list[str], limit: re.Pattern[str]) -> set[str]:
        """Capture the pages at `paths`, and one of each kind that they link to and `limit` matches. Returns the paths."""
        waiting, known = list(reversed(paths)), {IDS.sub("id", path) for path in paths}
        visited = set()
        while waiting:
            path = waiting.pop()
            answer = await page.goto(url + path)
            visited.add(path)
            if answer is None or (answer.status >= 400 and path not in paths):
                self.faults.append(f"{who}: {path} answered {answer and answer.status}")
            if urlsplit(path).path == "/" and await page.locator("#chat").count():
                await page.wait_for_selector("#chat[data-ready]")
            if await page.locator("code.math").count():  # a shared page, whose script typesets formulas
                await page.wait_for_selector(".katex")
            await self.take(page, f"{who}-{file_name(path)}")
            for link in await page.eval_on_selector_all("a[href]:not([download])", "(all) => all.map((one) => one.href)"):
                found = urlsplit(link).path
                if link.startswith(url) and limit.search(found) and not FILES.search(found) and IDS.sub("id", found) not in known:
                    known.add(IDS.sub("id", found))
                    waiting.append(found)
        return visited


def file_name(path: str) -> str:
    """Return the file name of a page's screenshot. Tokens in URLs are left out."""
    shown = re.sub(r"[\w.-]{60,}", "token", IDS.sub("id", urlsplit(path).path))
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", shown).strip("-") or "front"


async def photograph(browser: Browser, camera: Camera, edge: str, console: str, seeded: Seed) -> set[str]:
    """Capture all pages, and some of their states. Returns the edge's paths that were visited."""
    problems: list[str] = []
    options: dict[str, Any] = {"viewport": SIZES[camera.look.size], "locale": camera.look.language}
    visitor, member, staff = [await open_page(browser, problems, **options) for _ in range(3)]
    await member.context.add_cookies([{"name": "yout_session", "value": seeded.session, "url": edge}])
    visited = set()
    if camera.only in "visitor" or camera.only.startswith("visitor"):
        visited |= await camera.crawl(visitor, "visitor", edge, ["/", *seeded.visitor_paths], re.compile("^/(?!account|calls)"))
        visited |= await states(camera, visitor, edge, VISITOR_STATES, "visitor")
    if camera.only in "member" or camera.only.startswith("member"):
        own = re.compile("^/(account|calls|playground)")
        visited |= await camera.crawl(member, "member", edge, ["/", "/playground", "/account", *seeded.member_paths], own)
        visited |= await states(camera, member, edge, MEMBER_STATES, "member")
        await member.context.add_cookies([{"name": "yout_session", "value": seeded.second_factor_session, "url": edge}])
        pages = ["/account/security", "/account/sessions", "/account/plan"]
        visited |= await camera.crawl(member, "member-second-factor", edge, pages, re.compile("^/account/members"))
    if camera.only in "console" or camera.only.startswith("console"):
        await staff.goto(f"{console}/login")
        await camera.take(staff, "console-login")
        await staff.fill("[name=email]", STAFF)
        await staff.fill("[name=password]", PASSWORD)
        await staff.click("button.primary")
        await staff.wait_for_url(f"{console}/")
        kinds = re.compile(r"^/(?!static|messages|models/(?!id/gpt-4o-mini|$|new))")
        paths = ["/", "/nowhere", "/models/selected?action=disable&rowid=gpt-4.1", *seeded.console_paths]
        await camera.crawl(staff, "console", console, paths, kinds)
        await states(camera, staff, console, CONSOLE_STATES, "console")
    for page in (visitor, member, staff):
        await page.context.close()
    return visited


async def chat_answer(page: Page) -> None:
    await page.wait_for_selector("#chat[data-ready]")
    await page.fill("#prompt", QUESTION)
    await page.press("#prompt", "Enter")
    await page.wait_for_selector(".katex")


async def run_playground(page: Page) -> None:
    await page.select_option("#model", "gpt-4o-mini")
    await page.fill("#messages textarea", QUESTION)
    await page.click("#run")
    await page.wait_for_selector("#receipt-link:not([hidden])")


async def refused_sign_in(page: Page) -> None:
    await page.fill("[name=email]", "ada.lovelace@example.com")
    await page.fill("[name=password]", "wrong")
    await page.click("main button.primary")
    await page.wait_for_selector("[role=alert], .wrong:not(:empty)")


async def sign_in_code(page: Page) -> None:
    await page.fill("[name=email]", SECOND_FACTOR_PERSON)
    await page.fill("[name=password]", PASSWORD)
    await page.click("main button.primary")
    await page.wait_for_url("**/sign-in/code*")


async def created_key(page: Page) -> None:
    await page.fill("[name=name]", "laptop")
    await page.click("main button.primary")
    await page.wait_for_url("**/account/keys/created/*")


async def created_admin_key(page: Page) -> None:
    await page.fill("[name=name]", f"backup-{new_id().hex[-6:]}")  # the names of keys in force differ
    await page.check("[value='accounts:read']")
    await page.click("aside button.primary")
    await page.wait_for_url("**/made/*")


async def search(page: Page) -> None:
    await page.fill("#docs-search", "stream")
    await page.wait_for_selector("#docs-results a")


async def open_details(page: Page) -> None:
    await page.eval_on_selector_all("details", "(all) => all.forEach((one) => { one.open = true; })")


State = tuple[str, str, Callable[[Page], Awaitable[None]]]
VISITOR_STATES: tuple[State, ...] = (
    ("chat-answer", "/", chat_answer),
    ("sign-in-refused", "/sign-in", refused_sign_in),
    ("sign-in-code", "/sign-in", sign_in_code),
    ("docs-search", "/docs", search),
)
MEMBER_STATES: tuple[State, ...] = (
    ("chat-answer", "/", chat_answer),
    ("playground-answer", "/playground", run_playground),
    ("key-created", "/account/keys", created_key),
    ("keys-open", "/account/keys", open_details),
    ("data-open", "/account/data", open_details),
)
CONSOLE_STATES: tuple[State, ...] = (("admin-key-created", "/admin-keys/", created_admin_key),)


async def states(camera: Camera, page: Page, url: str, wanted: tuple[State, ...], who: str) -> set[str]:
    """Capture pages after an action on them. Returns the paths."""
    visited = set()
    for name, path, step in wanted:
        if camera.only in f"{who}-{name}":
            await page.goto(url + path)
            await step(page)
            visited.add(urlsplit(page.url).path)
            await camera.take(page, f"{who}-{name}")
    return visited


def missing(visited: set[str]) -> list[str]:
    """Return the edge's pages, as in the URL map, that no visited path matches."""
    app = Quart(__name__)
    app.register_blueprint(web)
    rules = [rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and rule.endpoint != "static"]
    patterns = {rule: re.compile(re.sub(r"<path:\w+>", ".+", re.sub(r"<\w+>", "[^/]+", rule))) for rule in rules}
    pages = {rule: pattern for rule, pattern in patterns.items() if not FILES.search(rule) and "<form_id>" not in rule}
    return sorted(rule for rule, pattern in pages.items() if not any(pattern.fullmatch(path) for path in visited))


def payments(member: Account) -> None:
    """Create payments in several states, a saved card, and an automatic top-up."""
    terms = PaymentTerms(
        "usd", 10_000, [500, 1_000, 2_500, 10_000], 500, 100_000, False, True, "Yout Ltd.\nDE02 1203 0000 0000 2020 51"
    )
    set_payment_settings(terms, origin=ORIGIN)
    bought, disputed, _ = (order_credits(member.id, amount, "stripe", origin=ORIGIN) for amount in (2_500, 10_000, 500))
    for row in (bought, disputed):
        record_event(stripe_events.event("checkout.session.completed", stripe_events.session(row)))
    record_event(stripe_events.event("charge.succeeded", stripe_events.charge(bought)))
    record_event(stripe_events.event("charge.refunded", stripe_events.charge(bought, amount_refunded=500)))
    post_entry(member.id, "adjustment", -80_000_000, actor="operator:screenshots", reason="correction")
    record_event(stripe_events.event("charge.dispute.created", stripe_events.dispute(disputed, "needs_response")))
    order_credits(member.id, 5_000, "invoice", origin=ORIGIN)
    set_top_up(member.id, TopUpTerms(1_000_000, 2_500, 10_000), origin=ORIGIN)
    buy_plan(member, terms)


def buy_plan(member: Account, terms: PaymentTerms) -> None:
    """Buy a plan whose next month, and an overage bill, could not be charged."""
    settings = set_payment_settings(replace(terms, collect_overage=True), origin=ORIGIN)
    price = plan_purchases.add_plan_price(find_plan("Studio"), settings, "price_studio")
    order = plan_purchases.order_plan(member.id, price, origin=ORIGIN)
    found = stripe_events.subscription(f"sub_{order.reference}", order.reference)
    reason = {"billing_reason": "subscription_create"}
    invoice = stripe_events.invoice("in_screenshots", found, price.id, price.amount_minor, now_ms() // 1_000, **reason)
    record_event(stripe_events.event("invoice.paid", invoice))
    next_month = now_ms() // 1_000 + 30 * 86_400
    unpaid = stripe_events.invoice("in_unpaid", found, price.id, price.amount_minor, next_month, status="open")
    record_event(stripe_events.event("invoice.payment_failed", unpaid))
    set_own_overage(member.id, 1_000_000, origin=ORIGIN)
    OverageEntry.create(account=member, subscription=new_id(), kind="bill", amount=-1_250_000)
    create_bill_payments()
    [bill] = unpaid_bills(member.id)
    record_fact("stripe", Fact("failed", bill.reference, problem="card_declined", attempt=1))


def publish_proofs(settings: Settings) -> None:
    """Store what `/trust` shows: a proof that passed, one that found something, and a seal."""
    now = now_ms()
    hit = {"canary": "prompt", "form": "base64", "place": "given logs: proxy.log"}
    results: dict[str, dict[str, Any]] = {
        "prove-cap": {"calls": 400, "overdraft": 0, "lost": 0, "doubled": 0, "problems": [], "kills": 12},
        "privacy-check": {"canaries": ["prompt", "tool", "image"], "places": [{}] * 9, "hits": [hit], "requests": 905},
    }
    for kind, result in results.items():
        store_report(kind, sign_report(kind, now - HOUR_MS, now - HOUR_MS, result, settings), settings)
    seal_ledger(now, SECRET_KEY, "https://yout.example")


def contact_sheets(folder: Path) -> Iterator[Path]:
    """Combine the screenshots of each set into sheets, large enough to read the text."""
    (folder / "sheets").mkdir(exist_ok=True)
    for look in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "sheets"):
        columns, rows, width = SHEETS[look.name.partition("-")[0]]
        screenshots, height = sorted(look.glob("*.png")), SHEET_HEIGHT // rows
        for first in range(0, len(screenshots), columns * rows):
            sheet = Image.new("RGB", (columns * (width + 8), rows * (height + 8)), "#888888")
            for place, path in enumerate(screenshots[first : first + columns * rows]):
                with Image.open(path) as screenshot:
                    cut = screenshot.convert("RGB").crop((0, 0, screenshot.width, min(screenshot.height, MAX_HEIGHT)))
                    cut = cut.resize((width, cut.height * width // cut.width)).crop((0, 0, width, height))
                left, top = place % columns * (width + 8), place // columns * (height + 8)
                sheet.paste(cut, (left, top))
                ImageDraw.Draw(sheet).text((left + 4, top + height - 12), path.stem, fill="#c00000")
            yield (target := folder / "sheets" / f"{look.name}-{first // (columns * rows):02}.png")
            sheet.save(target)


async def run(chosen: argparse.Namespace, edge: str, console: str, seeded: Seed) -> list[str]:
    """Take all screenshots. Returns the faults."""
    faults: list[str] = []
    visited: set[str] = set()
    async with chromium() as browser:
        for size in chosen.sizes:
            for language in chosen.languages:
                camera = Camera(chosen.folder, Look(size, language), chosen.schemes, chosen.only)
                visited |= await photograph(browser, camera, edge, console, seeded)
                faults += camera.faults
                print(f"{size} {language}: {len(camera.taken)} pages", flush=True)
                if not camera.taken:
                    faults.append(
                        f"{size} {language}: no page is named {chosen.only}… (they begin with visitor-, member-, console-)"
                    )
    return faults + ([] if chosen.only else [f"no screenshot of {rule}" for rule in missing(visited)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="only pages whose name begins with this, such as member-account")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screenshots-")))
        postgres = Postgres()
        stack.callback(postgres.stop)
        redis = RedisServer("valkey", folder)
        stack.callback(redis.kill)
        upstream = stack.enter_context(closing(Upstream()))
        upstream.default = lambda _: stream(role(), chunk(ANSWER), finish(), usage(17, 90), DONE)
        database_url = postgres.create_migrated()
        bind_database(stack.enter_context(opened(database_url)))
        create_staff(STAFF, "owner", PASSWORD, origin=ORIGIN)
        seeded = seed(upstream)
        stripe = {"stripe_api_key": "sk_test_screenshots"}
        settings = {
            **stripe,
            "database_url": database_url,
            "redis_url": redis.url,
            "data_dir": folder,
            "visitor_pool_credits": 1_000_000,
            "trust_page": True,
            "smtp_url": "console",
            "github_client_id": "screenshots",
            "github_client_secret": "screenshots",
            "oidc_issuer": ISSUER,
            "oidc_client_id": "screenshots",
        }
        publish_proofs(Settings.load(environment_of({**settings, "secret_key": SECRET_KEY}), dotenv=None))
        edge = start_edge(folder, environment_of(settings))
        stack.callback(edge.kill)
        console = start_console(folder, environment_of(settings))
        stack.callback(console.kill)
        faults = asyncio.run(run(chosen, edge.url, console.url, seeded))
    sheets = list(contact_sheets(chosen.folder))
    print("\n".join([*faults, f"{len(sheets)} contact sheets in {chosen.folder / 'sheets'}"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
