"""Every statement of a call, its workers and a purge names its account, so that a distributed database routes it to one shard.

The paths run on PostgreSQL while each statement is recorded with the function of the ledger that runs it; then it is parsed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest

import shared.ledger
from shared import ledger, media
from shared.billing.pricing import MediaUnits, PriceList, Quote
from shared.billing.request_shape import request_shape
from shared.billing.token_usage import TokenUsage
from shared.core.billing_periods import DAY_MS
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.settings import Settings
from shared.dialects.media import MediaCall
from shared.identity.payer import KeyPayer, Payer, SessionPayer, VisitorPayer
from shared.ledger import (
    Claim,
    Extension,
    FailedCost,
    HoldTaken,
    Reservation,
    Settlement,
    UsageDetails,
    VisitorSettings,
    batch_transaction,
    compaction,
    retention,
)
from shared.ledger.origins import sign_old_purges
from shared.ledger.receipt_proof import read_proof
from shared.ledger.renewals import PaidPeriod, start_paid_period
from shared.ledger.request_shapes import read_shape, save_shape
from shared.ledger.sql import execute
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.media.finish_job import JobResult
from shared.models import ApiKey, EdgeProcess, LedgerEntry, PurgeJob, Subscription, WebSession
from shared.operations.conversations import ChatMessage
from shared.operations.key_changes import update_key
from shared.operations.plans import create_plan
from shared.operations.purges import begin_purge, purge_visitor
from shared.operations.shares import share_messages
from shared.operations.stored_responses import ResponseState, find_response, store_response
from shared.operations.subscriptions import cancel_subscription, change_subscription, set_overage, subscribe
from shared.rollup import member_spending, month_spending
from tests import factories
from tests.distribution import is_data_statement, unrouted_tables
from tests.factories import ORIGIN
from workers.purge import PurgeActors

# Statements that do not name the account, by how they begin, with the reason. No call runs one.
EXCEPTIONS = {
    "SELECT h.id, h.account_id FROM hold h LEFT JOIN edge_process": "the sweeper searches abandoned holds of all accounts",
    "DELETE FROM hold WHERE state <> 'held' AND closed_at <": "the sweeper deletes old rows of all accounts",
    "DELETE FROM idempotency_claim WHERE expires_at <": "the sweeper deletes old rows of all accounts",
    "DELETE FROM allowance WHERE kind = %s AND period <": "the sweeper deletes old rows of all accounts",
    "SELECT DISTINCT edge_process FROM hold": "the sweeper keeps a process while any account has a hold of it",
    "SELECT a.id FROM account a WHERE a.id > %s AND (a.ledger_origin": "a seal pages through purged accounts once",
    "SELECT a.id, p.usage_days FROM account a": "the worker pages through all accounts to delete old calls",
    "SELECT id, account_id FROM subscription WHERE status = 'active' AND renews_at <=": "the worker searches due renewals",
    "SELECT s.id, a.id FROM subscription s JOIN account a": "the worker searches ended subscriptions with credits left",
    'SELECT "t1"."id", "t1"."account_id", "t1"."plan_id"': "a change of a plan reads the subscription by its id",
    'UPDATE "subscription" SET "plan_id"': "a change of a plan writes the subscription by its id",
}
# Modules of the ledger that no call uses: checks and seals of the whole ledger, readiness, and the upkeep of partitions. A
# distributed database does not use `single_call.py`.
NOT_HOT = {"verify.py", "probe.py", "partitions.py", "seal.py", "dump.py", "single_call.py"}
PRICE = PriceList(uuid4(), 0, 0, 1_000, None, 0, 0)
TERMS = VisitorSettings(1_000, 300)
HOUR_MS = 3_600_000
CREDITS = 10_000
LEDGER = Path(shared.ledger.__file__).parent


class Recorder:
    """Records statements while it is active, and the functions of the ledger that run them."""

    def __init__(self) -> None:
        self.statements: set[str] = set()
        self.functions: set[tuple[str, str]] = set()

    @contextmanager
    def active(self, database: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        kind = type(database)
        execute: Callable[..., Any] = kind.execute_sql

        def recording(target: Any, sql: str, *rest: Any, **options: Any) -> Any:
            self.statements.add(sql)
            frame = sys._getframe(1)
            while frame.f_back is not None:
                path = Path(frame.f_code.co_filename)
                if path.parent == LEDGER:
                    self.functions.add((path.name, frame.f_code.co_name))
                frame = frame.f_back
            return execute(target, sql, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "execute_sql", recording)
            yield


def functions_with_statements() -> set[tuple[str, str]]:
    """Every function of the ledger that runs a statement itself."""
    runs = {"execute", "insert", "update_from", "lock_accounts"}
    found = set()
    for path in LEDGER.glob("*.py"):
        if path.name in NOT_HOT | {"sql.py"}:
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                called = {
                    node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                }
                if called & runs:
                    found.add((path.name, function.name))
    return found


def quote(bound: int) -> Quote:
    return Quote(PRICE, bound, min(bound, 1), 0, bound)


class Calls:
    """Reserves and settles calls as an edge does: in batches, with the account that it remembers for each payer."""

    def __init__(self, now: int) -> None:
        self.now = now

    def ask(self, payer: Payer, account: UUID | None, bound: int = 40, **columns: Any) -> Reservation:
        return Reservation(new_id(), "free", quote(bound), self.now + HOUR_MS, payer, account=account, **columns)

    def reserve(self, *asks: Reservation) -> list[tuple[Reservation, HoldTaken]]:
        with batch_transaction():
            results = ledger.reserve(asks, self.now, TERMS)
        taken = [(ask, result) for ask, result in zip(asks, results, strict=True) if isinstance(result, HoldTaken)]
        assert len(taken) == len(asks), results
        return taken

    def settle(self, *calls: tuple[Reservation, HoldTaken], cost: int = 10, status: str = "completed", **columns: Any) -> None:
        items = [
            Settlement(
                *(ask.call, taken.account, cost, status, taken.api_key, ask.model, PRICE.id),
                usage=TokenUsage(1, cost),
                created_at=self.now,
                first_token_ms=1 if cost else None,
                has_claim=ask.claim is not None,
                **columns,
            )
            for ask, taken in calls
        ]
        with batch_transaction():
            ledger.settle(items, self.now)


class Customer:
    """An account with a key, a key with a monthly limit, a key that the latter created, and a session."""

    def __init__(self, credits: int = CREDITS) -> None:
        owner = self.owner = factories.account(credits)
        self.id: UUID = owner.id
        limited = factories.api_key(owner, monthly_credit_limit=1_000, can_manage=True)[0]
        keys = [factories.api_key(owner)[0], limited, factories.api_key(owner, parent=limited.id)[0]]
        self.keys: list[Payer] = [KeyPayer(str(key.digest)) for key in keys]
        session = WebSession.create(digest=new_id().hex * 2, account=owner, expires_at=now_ms() + DAY_MS)
        self.session = SessionPayer(str(session.digest))


@pytest.fixture
def customers(bound_postgres: peewee.Database) -> list[Customer]:
    factories.model("free", is_free=True)
    create_plan("small", {"monthly_credits": 50, "overage_allowed": True, "stores_content": True}, origin=ORIGIN)
    create_plan("large", {"monthly_credits": 90, "overage_allowed": True}, origin=ORIGIN)
    return [Customer(), Customer()]


def make_calls(customers: list[Customer], now: int) -> None:
    """Calls of every kind of payer, in batches of one account and of several."""
    calls, (first, second) = Calls(now), customers
    visitor = VisitorPayer("a" * 64)
    claims = [Claim(digit * 64, "b" * 64) for digit in "1234"]
    plain = calls.reserve(calls.ask(first.keys[0], first.id), calls.ask(second.keys[0], second.id))
    single = calls.reserve(calls.ask(first.keys[0], first.id, claim=claims[0]))
    mixed = calls.reserve(
        *(calls.ask(key, first.id) for key in first.keys),
        *(calls.ask(customer.session, customer.id, claim=claims[1]) for customer in customers),
        calls.ask(visitor, None, claim=claims[2]),
    )
    with batch_transaction():
        ledger.lock_in_order([first.id, second.id])
        ledger.extend([Extension(ask.call, taken.account, 5) for ask, taken in (*plain, *mixed)], now)
    with batch_transaction():
        ledger.extend([Extension(plain[0][0].call, first.id, 5)], now)
    failed = [FailedCost(uuid4(), 3)]
    calls.settle(*plain, channel=uuid4(), failed_costs=failed, details=UsageDetails(tag="x"))
    calls.settle(*plain)  # a second time: the first commit was not confirmed
    calls.settle(*single, cost=0, status="failed")
    calls.settle(*mixed)
    free = calls.reserve(calls.ask(visitor, None), calls.ask(first.keys[0], None), calls.ask(second.session, None))
    calls.settle(*free, cost=0, status="failed")
    purge_visitor(visitor.digest, TERMS, now)


def use_overage(customers: list[Customer], now: int) -> None:
    """Calls beyond an empty pool, on a plan with overage."""
    calls = Calls(now)
    for customer in customers:
        for _ in range(2):
            big = calls.reserve(calls.ask(customer.keys[0], customer.id, CREDITS + 100))
            calls.settle(*big, cost=CREDITS + 100)


def lose_holds(customers: list[Customer], now: int) -> None:
    """Holds whose commit is not confirmed, or whose process dies; one is settled late."""
    calls = Calls(now)
    owner = customers[0]
    lost = calls.reserve(calls.ask(owner.keys[1], owner.id, claim=Claim("5" * 64, "b" * 64)))
    with batch_transaction():
        ledger.release([lost[0][0].call], now, [owner.id, POOL_ACCOUNT_ID])
    late = calls.reserve(*(calls.ask(customer.keys[1], customer.id) for customer in customers))
    EdgeProcess.create(host="gone", pid=1, seen_at=0)
    assert ledger.sweep(now + 2 * HOUR_MS) == 2
    calls.settle(*late)
    crashed = calls.reserve(calls.ask(owner.keys[0], owner.id))  # the database loses its row
    execute("DELETE FROM hold WHERE id = ? AND account_id = ?", [crashed[0][0].call, owner.id])
    execute("UPDATE account SET held = held - ? WHERE id = ?", [crashed[0][1].amount, owner.id])
    calls.settle(*crashed, held=crashed[0][1].amount)


def post_entries(customer: Customer) -> None:
    charge = LedgerEntry.get(LedgerEntry.account == customer.id, LedgerEntry.kind == "charge")
    with transaction():
        ledger.post_entry(customer.id, "grant", 50, actor="test", reason="test", plan=True)
        ledger.post_entry(customer.id, "refund", 1, actor="test", reason="test", call=charge.call)
    assert read_proof(customer.id, charge.call) is not None
    key = ApiKey.get(ApiKey.digest == customer.keys[0].digest)
    update_key(key.id, {"monthly_credit_limit": 10 * CREDITS}, origin=ORIGIN)


def delete_old_calls(customer: Customer, now: int) -> None:
    assert not retention.has_plan_with_usage_days()
    assert retention.read_usage_days(customer.id, 30) == 30
    accounts = list(retention.select_accounts(30, UUID(int=0), 10))
    assert customer.id in retention.with_calls_before(accounts, now + HOUR_MS)
    with transaction():
        calls = retention.lock_old_calls(customer.id, 0, now + HOUR_MS, 2)
        assert len(calls) == 2
        retention.delete_calls(customer.id, [call.id for call in calls])


def run_media(customer: Customer, now: int) -> None:
    jobs = []
    for _ in range(2):
        ask = Calls(now).ask(customer.keys[0], customer.id)
        call = MediaCall("image", "free", {"prompt": "x"}, MediaUnits(1), {"n": 1})
        with transaction():
            jobs.append(media.submit(ask, media.JobRequest(call, "sealed", now + HOUR_MS), now).job)
    with transaction():
        assert media.undo_submission(customer.id, jobs[0].id, now)
    assert media.finish(jobs[1], JobResult("succeeded", cost=10), lease_id=None) is not None
    shape = request_shape(("model", "prompt"), ())
    with transaction():
        save_shape(shape)
    assert read_shape(shape.id) == shape


def renews_at(customer: Customer) -> int:
    due = Subscription.get(Subscription.account == customer.id).renews_at
    assert due is not None
    return due


def renew(customers: list[Customer]) -> None:
    first, second = customers
    change_subscription(second.id, "large", "now", origin=ORIGIN)
    due = renews_at(second)
    assert ledger.renew_subscriptions(due) == 2
    cancel_subscription(second.id, "next_period", origin=ORIGIN)
    due = renews_at(second)
    held = Calls(now_ms()).reserve(Calls(now_ms()).ask(first.keys[0], first.id, 20))
    cancel_subscription(first.id, "now", origin=ORIGIN)
    Calls(now_ms()).settle(*held, cost=0, status="failed")
    assert ledger.renew_subscriptions(due) >= 2


def pay_for_plan(customer: Customer, now: int) -> None:
    row = subscribe(customer.id, "small", origin=ORIGIN)
    with transaction():
        period = PaidPeriod("sub_1", row.plan.id, "small", 10, None, 0, now, now + HOUR_MS)
        start_paid_period(customer.id, row.id, period, now, actor="test", reason="paid")


def store_and_purge(customer: Customer, settings: Settings) -> None:
    call = new_id()
    assert store_response(ResponseState(customer.id, None, True, 0, [], 0), call, [], {}, model="free")
    find_response(customer.id, f"resp_{call.hex}")
    share_messages(customer.id, "A share", [ChatMessage("user", "Hi")])
    assert compaction._last_hash(customer.id, ()) is None  # no entry has a hash yet
    job = begin_purge(customer.id, origin=ORIGIN)
    PurgeActors(settings).purge(str(job.id))
    assert PurgeJob.get_by_id(job.id).status == "done"
    sign_old_purges(1, settings.secret_key)


def test_every_hot_statement_names_the_account(
    customers: list[Customer],
    bound_postgres: peewee.Database,
    monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings],
) -> None:
    recorder, now = Recorder(), now_ms()
    for customer in customers:
        subscribe(customer.id, "small", origin=ORIGIN)
        set_overage(customer.id, 500, origin=ORIGIN)
    with recorder.active(bound_postgres, monkeypatch):
        ledger.renew_pool(TERMS, now)
        make_calls(customers, now)
        run_media(customers[0], now)
        lose_holds(customers, now)
        month_spending(customers[0].id, now)
        member_spending(customers[0].id, now)
        use_overage(customers, now)
        post_entries(customers[0])
        delete_old_calls(customers[1], now)
        renew(customers)
        pay_for_plan(customers[1], now)
        store_and_purge(customers[0], make_settings())
    statements = {statement for statement in recorder.statements if is_data_statement(statement)}
    unrouted = {statement: tables for statement in statements if (tables := unrouted_tables(statement))}
    assert [(tables, statement) for statement, tables in unrouted.items() if not statement.startswith(tuple(EXCEPTIONS))] == []
    assert [start for start in EXCEPTIONS if not any(statement.startswith(start) for statement in unrouted)] == []
    assert functions_with_statements() - recorder.functions == set()


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("DELETE FROM hold WHERE id = %s AND account_id = %s", []),
        ("DELETE FROM hold WHERE id = %s", ["hold"]),
        ("DELETE FROM hold WHERE account_id = ANY(%s)", []),
        ("DELETE FROM hold WHERE account_id = %s OR id = %s", ["hold"]),
        ("DELETE FROM hold WHERE account_id <> %s", ["hold"]),
        ("DELETE FROM hold WHERE account_id IN (SELECT account_id FROM api_key WHERE digest = %s)", ["hold"]),
        ("SELECT 1 FROM api_key k JOIN account a ON a.id = k.account_id WHERE k.digest = %s", ["account"]),
        ("SELECT 1 FROM api_key k JOIN account a ON a.id = k.account_id WHERE k.account_id = %s", []),
        ("SELECT 1 FROM account a LEFT JOIN subscription s ON s.account_id = a.id WHERE a.id = %s FOR NO KEY UPDATE OF a", []),
        (
            "SELECT 1 FROM account a LEFT JOIN subscription s ON s.account_id = a.id WHERE s.account_id IS NULL",
            ["account", "subscription"],
        ),
        ("SELECT 1 FROM account a LEFT JOIN hold h ON a.id = %s AND h.account_id = a.id", ["account", "hold"]),
        ("SELECT 1 FROM account a WHERE a.id = %s AND EXISTS (SELECT 1 FROM hold h WHERE h.account_id = a.id)", []),
        ("SELECT 1 FROM account a WHERE a.id = %s AND EXISTS (SELECT 1 FROM hold h WHERE h.id = a.id)", ["hold"]),
        ("SELECT 1 FROM hold WHERE account_id = %s UNION ALL SELECT 1 FROM usage_ledger WHERE id = %s", ["usage_ledger"]),
        ("UPDATE hold SET amount = 1 FROM (SELECT %s::uuid AS x) v WHERE hold.account_id = v.x", ["hold"]),
        ("UPDATE hold SET amount = 1 FROM (SELECT %s::uuid AS x) v WHERE hold.account_id = v.x AND hold.account_id = %s", []),
        ("INSERT INTO hold (id, account_id) SELECT %s, %s", []),
        ("INSERT INTO hold (id) SELECT %s", ["hold"]),
        ("SELECT 1 FROM plan WHERE id = %s", []),
    ],
)
def test_statements_that_do_not_name_an_account_are_found(statement: str, tables: list[str]) -> None:
    assert unrouted_tables(statement) == tables
