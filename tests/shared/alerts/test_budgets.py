"""Budgets: each percentage alerts once per period, with several workers, and again after the budget was raised."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import peewee
import pytest

from shared.alerts import budget_webhooks
from shared.alerts.budgets import claim_budgets, compare_budgets, delete_old_alerts, find_alert, measure_spending, record_spending
from shared.core.billing_periods import DAY_MS, month_start, next_month_start
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.core.settings import Settings
from shared.mail.preferences import set_muted_kinds
from shared.media.webhooks import MAX_ATTEMPTS, get_or_create_secret
from shared.models import Account, Budget, BudgetAlert, OutgoingMail, Person, RollupState, UsageLedger
from shared.operations.budgets import MAX_BUDGETS, BudgetTerms, change_budget, create_budget, delete_budget, list_budgets
from shared.operations.members import MemberTerms, add_member, set_member_suspended
from shared.rollup import update_sums
from shared.safe_http import check_url, policy_from_settings
from tests import factories
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY
from tests.servers.process import eventually
from tests.servers.smtp import SmtpServer
from tests.threads import run_threads
from tests.upstream import Upstream
from tests.upstream_responses import error_response, json_response
from workers.budgets import BudgetWork
from workers.mail import MailWork

pytestmark = pytest.mark.usefixtures("bound_database")
SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
HOUR_MS = 3_600_000
HOOK = "https://hooks.example/x"


def verified_account(**options: Any) -> Account:
    """An account whose owner's address is verified."""
    owner = factories.account(**options)
    Account.update(email_verified_at=1).where(Account.id == owner.id).execute()
    return owner


def budget(
    owner: Account, credits: int = 100, *, scope: str = "account", target: Any = "", period: str = "month", **terms: Any
) -> Any:
    return create_budget(owner.id, scope, str(target), period, BudgetTerms(credits, **terms), origin=ORIGIN)


def spend(owner: Account, credits: int, *, at: int | None = None, **columns: Any) -> None:
    values = {"id": new_id(), "model": "m", "price": UUID(int=1), "status": "completed", "streamed": False, **columns}
    UsageLedger.create(account=owner.id, credits=credits, created_at=at or now_ms(), **values)


def compare(now: int | None = None, *, sends_mail: bool = True) -> int:
    """Compare all budgets, as a worker does when they are due."""
    now = now_ms() if now is None else now
    Budget.update(due_at=0).execute()
    return compare_budgets(claim_budgets(now), now, sends_mail=sends_mail)


def alerted() -> list[int]:
    return [row.percent for row in BudgetAlert.select().order_by(BudgetAlert.created_at, BudgetAlert.percent)]


def mails() -> list[tuple[str, str]]:
    return sorted((row.kind, row.recipient) for row in OutgoingMail.select())


# Thresholds


@SQLITE
@pytest.mark.parametrize(
    ("credits", "spent", "percents"),
    [(100, 49, []), (100, 50, [50]), (100, 79, [50]), (100, 80, [50, 80]), (100, 500, [50, 80, 100]), (3, 1, []), (3, 2, [50])],
)
def test_a_percentage_alerts_when_it_is_reached(credits: int, spent: int, percents: list[int]) -> None:
    owner = verified_account()
    row = budget(owner, credits)
    record_spending(row, spent, now_ms(), sends_mail=True)
    assert alerted() == percents
    assert len(mails()) == len(percents)


@SQLITE
def test_each_percentage_alerts_once_per_period_and_again_in_the_next() -> None:
    owner, now = verified_account(), now_ms()
    row = budget(owner, 100, percents=[80, 50])
    assert [record_spending(row, spent, now, sends_mail=True) for spent in (60, 60, 85, 99, 400)] == [1, 0, 1, 0, 0]
    assert record_spending(row, 60, next_month_start(now), sends_mail=True) == 1
    assert alerted() == [50, 80, 50]
    delete_old_alerts(next_month_start(now) + 500 * DAY_MS)
    assert alerted() == []


@SQLITE
def test_raising_the_budget_arms_the_percentages_that_are_no_longer_reached() -> None:
    owner, now = verified_account(), now_ms()
    row = budget(owner, 100)
    record_spending(row, 90, now, sends_mail=True)
    raised = change_budget(owner.id, row.id, BudgetTerms(150), origin=ORIGIN)
    assert record_spending(row, 150, now, sends_mail=True) == 0  # measured before the change
    assert record_spending(raised, 90, now, sends_mail=True) == 0  # 60 %: alerted before
    assert record_spending(raised, 120, now, sends_mail=True) == 1
    assert [(one.percent, one.credits) for one in BudgetAlert.select().order_by(BudgetAlert.id)] == [
        (50, 100),
        (80, 100),
        (80, 150),
    ]
    lowered = change_budget(owner.id, row.id, BudgetTerms(100), origin=ORIGIN)
    assert record_spending(lowered, 120, now, sends_mail=True) == 1
    assert alerted()[-1] == 100


@SQLITE
def test_a_low_balance_alerts_once_until_it_recovers() -> None:
    owner, now = verified_account(credits=500), now_ms()
    row = budget(owner, 200, scope="balance", period="month", percents=[5, 6])
    assert (row.period, row.percents) == ("none", [100])
    assert [record_spending(row, left, now, sends_mail=True) for left in (500, 200, 199, 3, 0)] == [0, 0, 1, 0, 0]
    delete_old_alerts(now + 500 * DAY_MS)  # it is still low
    assert [record_spending(row, left, now, sends_mail=True) for left in (0, 200, 199)] == [0, 0, 1]
    assert {kind for kind, _ in mails()} == {"low_balance"}


def test_two_workers_record_each_alert_and_email_once(bound_database: peewee.Database) -> None:
    owner, now = verified_account(), now_ms()  # all in one month
    rows = [budget(owner, 100 * number, webhook_url=HOOK) for number in range(1, 6)]

    def work(_: int) -> None:
        for spent in (60, 130, 700):
            for row in rows:
                record_spending(row, spent, now, sends_mail=True)
        bound_database.close()

    run_threads(work, 4)
    expected = sum(percent * number <= 700 for number in range(1, 6) for percent in (50, 80, 100))
    assert BudgetAlert.select().count() == expected
    assert OutgoingMail.select().where(OutgoingMail.status == "queued").count() == expected
    assert claim_twice(bound_database) == len(rows)


def claim_twice(bound_database: peewee.Database) -> int:
    """Let four workers claim all budgets at once, and return how many they got together."""
    Budget.update(due_at=0).execute()
    claimed: list[int] = []

    def work(_: int) -> None:
        claimed.append(len(claim_budgets(now_ms())))
        bound_database.close()

    run_threads(work, 4)
    return sum(claimed)


@SQLITE
def test_a_worker_that_fails_in_the_middle_loses_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = verified_account()
    row = budget(owner, 100)

    def broken(*_: Any, **__: Any) -> None:
        raise peewee.OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("shared.alerts.budgets.queue_mail", broken)
        with pytest.raises(peewee.OperationalError):
            record_spending(row, 100, now_ms(), sends_mail=True)
    assert (alerted(), mails()) == ([], [])
    record_spending(row, 100, now_ms(), sends_mail=True)
    assert (alerted(), len(mails())) == ([50, 80, 100], 3)


# Spending


def test_spending_is_read_by_account_member_key_and_tag_from_sums_and_calls(bound_database: peewee.Database) -> None:
    owner, other, now = factories.account(), factories.account(), now_ms()
    member = add_member(owner.id, "dev@example.com", MemberTerms("developer"), origin=ORIGIN).member
    key, _ = factories.api_key(owner, can_manage=True)
    child, _ = factories.api_key(owner, parent=key.id)
    rest, _ = factories.api_key(owner)
    at = max(month_start(now), now - 3 * HOUR_MS)
    spend(owner, 1_000, at=month_start(now) - 1, api_key=key.id)  # in the last month
    for when in (at, now):
        spend(owner, 7, at=when, api_key=key.id, tag="docs")
        spend(owner, 20, at=when, api_key=child.id)
        spend(owner, 100, at=when, api_key=rest.id, tag="other")
        spend(owner, 3, at=when, member=member.id, tag="docs")
        spend(other, 9_999, at=when)
    wanted = {("account", ""): 260, ("key", key.id): 54, ("key", child.id): 40, ("member", member.id): 6, ("tag", "docs"): 20}
    rows = [budget(owner, 5, scope=scope, target=target) for scope, target in wanted]
    rows.append(budget(owner, 5, scope="balance"))
    RollupState.update(rolled_until=now // HOUR_MS * HOUR_MS - 5 * HOUR_MS, keys_from=0).execute()
    for _ in range(2):  # from the calls, then from the sums
        spent = [amount for _, amount in measure_spending(owner.id, rows, now)]
        assert spent == [*wanted.values(), owner.balance]
        update_sums(now, 60)
    [today] = measure_spending(owner.id, [budget(owner, 5, period="day")], now)
    assert today[1] == sum(130 for when in (at, now) if when // DAY_MS == now // DAY_MS)


# Recipients


@SQLITE
def test_verified_members_who_pay_get_the_email_unless_they_turned_it_off() -> None:
    owner = verified_account(email="own@example.com")
    for role in ("admin", "billing", "developer", "viewer"):
        add_member(owner.id, f"{role}@example.com", MemberTerms(role), origin=ORIGIN)
    add_member(owner.id, "unverified@example.com", MemberTerms("billing"), origin=ORIGIN)
    suspended = add_member(owner.id, "suspended@example.com", MemberTerms("admin"), origin=ORIGIN).member
    muted = add_member(owner.id, "muted@example.com", MemberTerms("admin"), origin=ORIGIN).member
    Person.update(email_verified_at=1).where(Person.email != "unverified@example.com").execute()
    set_member_suspended(owner.id, suspended.id, True, origin=ORIGIN)
    set_muted_kinds(muted.person.id, ["budget"])
    row = budget(owner, 100, percents=[100])
    record_spending(row, 100, now_ms(), sends_mail=True)
    assert mails() == [("budget", f"{name}@example.com") for name in ("admin", "billing", "own")]
    record_spending(budget(owner, 100, percents=[1]), 100, now_ms(), sends_mail=False)  # no mail server
    record_spending(budget(owner, 100, percents=[1], sends_mail=False, webhook_url=HOOK), 100, now_ms(), sends_mail=True)
    assert len(mails()) == 3
    with pytest.raises(InvalidInput, match="no optional email"):
        set_muted_kinds(muted.person.id, ["new_sign_in"])


# Changes


@SQLITE
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"credits": 0}, "number of credits"),
        ({"percents": [0]}, "percentage"),
        ({"percents": [1_001]}, "percentage"),
        ({"percents": []}, "percentages"),
        ({"percents": list(range(1, 12))}, "percentages"),
        ({"sends_mail": False}, "Choose email, a webhook, or both"),
        ({"webhook_format": "teams"}, "format of the webhook"),
        ({"webhook_url": "https://x.example/" + "a" * 2_000}, "at most 2000 characters"),
        ({"scope": "planet"}, "scope"),
        ({"period": "none"}, "period"),
        ({"scope": "tag", "target": " "}, "tag must not be empty"),
        ({"scope": "tag", "target": "x" * 65}, "at most 64"),
    ],
)
def test_invalid_budgets_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        budget(factories.account(), **values)


@SQLITE
def test_members_and_keys_of_other_accounts_are_unknown() -> None:
    owner, other = factories.account(), factories.account()
    key, _ = factories.api_key(other)
    for scope, target in (("key", key.id), ("member", other.id), ("key", new_id()), ("member", "x")):
        with pytest.raises(NotFound):
            budget(owner, scope=scope, target=target)
    row = budget(other, scope="key", target=key.id)
    with pytest.raises(NotFound):
        delete_budget(owner.id, row.id, origin=ORIGIN)
    with pytest.raises(NotFound):
        change_budget(owner.id, row.id, BudgetTerms(1), origin=ORIGIN)
    delete_budget(other.id, row.id, origin=ORIGIN)
    assert list_budgets(other.id) == []
    for _ in range(MAX_BUDGETS):
        budget(owner)
    with pytest.raises(InvalidInput, match="at most 50"):
        budget(owner)


# Webhooks and emails


@pytest.fixture
def work(make_settings: Callable[..., Settings]) -> Iterator[Callable[[], BudgetWork]]:
    made: list[BudgetWork] = []

    def make() -> BudgetWork:
        made.append(BudgetWork(make_settings(outbound_networks=("127.0.0.1/32",), secret_key=SECRET_KEY)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@SQLITE
def test_a_webhook_is_signed_retried_and_sent_once(work: Callable[[], BudgetWork], upstream: Upstream) -> None:
    owner, workers = verified_account(), [work(), work()]
    key, _ = factories.api_key(owner, name="production")
    row = budget(owner, 100, scope="key", target=key.id, percents=[80], webhook_url=upstream.url + "/hook")
    upstream.script(error_response(500), json_response({}))
    spend(owner, 85, api_key=key.id)
    for one in workers:
        one.compare()
        one.webhooks.run()
    eventually(lambda: (workers[0].webhooks.run(), len(upstream.calls) == 1)[1], "the first attempt")
    eventually(lambda: (workers[0].webhooks.run(), not in_flight(workers[0]))[1], "its end")
    assert BudgetAlert.get().webhook_status == "queued"
    BudgetAlert.update(webhook_due_at=1).execute()
    eventually(lambda: ([one.webhooks.run() for one in workers], BudgetAlert.get().webhook_status == "sent")[1], "delivered")
    for one in workers:
        one.webhooks.run()
    assert len(upstream.calls) == 2
    call = upstream.calls[1]
    event, alert = json.loads(call.body), BudgetAlert.get()
    with transaction():
        secret = get_or_create_secret(owner.id, SECRET_KEY)
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    digest = hmac.new(base64.b64decode(secret[6:]), signed, hashlib.sha256).digest()
    assert call.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (call.headers["webhook-id"], event["id"], event["type"]) == (f"evt_{alert.id.hex}",) * 2 + ("budget.reached",)
    assert event["text"].startswith("Spending of API key production this month is 85 credits, 80 % or more")
    assert event["data"] == {
        "budget": str(row.id),
        "account": str(owner.id),
        "scope": "key",
        "target": str(key.id),
        "period": "month",
        "period_starts_at": month_start(now_ms()) // 1000,
        "percent": 80,
        "credits": 100,
        "spent": 85,
    }


def in_flight(one: BudgetWork) -> bool:
    return bool(one._deliverer._in_flight)


@SQLITE
def test_slack_gets_only_the_text_and_private_addresses_are_refused(work: Callable[[], BudgetWork], upstream: Upstream) -> None:
    owner, one = verified_account(), work()
    for url in (upstream.url + "/slack", "http://10.0.0.1/hook"):
        budget(owner, 5_000_000, scope="balance", webhook_url=url, webhook_format="slack")
    upstream.default = lambda _: json_response({})
    deliver_all(one)
    [call] = upstream.calls
    assert json.loads(call.body) == {"text": "The balance is 1000000 credits, below 5000000."}


@SQLITE
def test_a_name_that_changes_and_a_redirect_lead_to_no_private_address(
    work: Callable[[], BudgetWork], make_settings: Callable[..., Settings], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is public when the budget is created, and private when the webhook is sent."""
    inside, owner = upstream.url.split("/")[2], verified_account()
    strict = BudgetWork(make_settings(secret_key=SECRET_KEY))
    port = int(inside.partition(":")[2])
    check_url("http://rebound.example/hook", policy_from_settings(make_settings()))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "10.0.0.1")]
    found += [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::ffff:127.0.0.1", port, 0, 0))]
    monkeypatch.setattr("shared.safe_http.client.socket.getaddrinfo", lambda *_, **__: found)
    budget(owner, 5_000_000, scope="balance", webhook_url="http://rebound.example/hook")
    deliver_all(strict)
    strict.close()
    assert (upstream.calls, BudgetAlert.get().webhook_status) == ([], "failed")

    monkeypatch.undo()
    target = f"{upstream.url}/secret"
    upstream.default = lambda _: json_response({}, 307, headers={"location": target})
    budget(owner, 5_000_000, scope="balance", webhook_url=upstream.url + "/hook")
    one = work()
    one.compare()
    eventually(lambda: (one.webhooks.run(), bool(upstream.calls))[1], "the webhook is sent")
    eventually(lambda: (one.webhooks.run(), not in_flight(one))[1], "its end")
    assert [call.path for call in upstream.calls] == ["/v1/hook"], "a redirect is an answer like any other failure"


def deliver_all(one: BudgetWork) -> None:
    """Deliver until every webhook was sent or refused."""
    one.compare()
    unsent = BudgetAlert.webhook_due_at.is_null(False)
    eventually(lambda: (one.webhooks.run(), not BudgetAlert.select().where(unsent).exists())[1], "all are done")


@SQLITE
def test_a_webhook_is_given_up_after_its_attempts() -> None:
    owner = verified_account()
    record_spending(budget(owner, 100, percents=[1], webhook_url=HOOK), 100, now_ms(), sends_mail=False)
    BudgetAlert.update(webhook_attempts=MAX_ATTEMPTS).execute()
    assert budget_webhooks.due_webhooks(10) == []
    assert BudgetAlert.get().webhook_status == "failed"
    found = find_alert(BudgetAlert.get().id)
    assert found is not None
    assert find_alert(new_id()) is None


@SQLITE
@pytest.mark.parametrize("language", ["en", "de"])
def test_emails_say_what_was_reached_in_the_persons_language(make_settings: Callable[..., Settings], language: str) -> None:
    server = SmtpServer()
    owner = verified_account(email="own@example.com")
    Account.update(language=language, name="Acme").where(Account.id == owner.id).execute()
    Person.update(language=language).where(Person.email == owner.email).execute()
    budget(owner, 1_000, percents=[80], period="day")
    budget(owner, 5_000_000, scope="balance")
    gone = budget(owner, 5_000_000, scope="balance")
    spend(owner, 900)
    compare()
    delete_budget(owner.id, gone.id, origin=ORIGIN)
    sender = MailWork(make_settings(smtp_url=server.url, mail_from="no-reply@yout.example", public_url="https://yout.example"))
    sender.send_due()
    server.close()
    subjects = sorted(mail.message["Subject"] for mail in server.mails)
    texts = " ".join(mail.part("plain") for mail in server.mails)
    assert all(mail.message["Content-Language"] == language for mail in server.mails)
    assert len(subjects) == 2
    if language == "en":
        assert subjects == ["80 % of a budget is spent: the account", "Low balance: 1\u202f000\u202f000 credits"]
        assert "Today (UTC) 900 credits of the daily budget of 1\u202f000 for the account in Acme were spent." in texts
        assert "A budget does not stop calls." in texts
    assert {row.status for row in OutgoingMail.select()} == {"sent", "cancelled"}
