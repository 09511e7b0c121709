"""Spending limits besides the balance, under concurrent calls to two edges: key's month, plan's overage, visitor's day, visitor
pool.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, Allowance, LedgerEntry, Subscription, UsageLedger
from shared.operations.keys import create_key
from shared.operations.members import MemberTerms, add_member, set_member_suspended
from shared.operations.plans import create_plan
from shared.operations.subscriptions import set_overage, subscribe
from shared.rollup import member_spending, month_spending
from tests import factories
from tests.edge.http_calls import WAIT_SECONDS, Response, chat, run_concurrently
from tests.factories import ORIGIN
from tests.servers.edge import WebProcess
from tests.upstream import Upstream

Edges = list[WebProcess]
POSTGRES = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
PER_CALL = 1_000


def start_two_edges(upstream: Upstream, start_edge: Any, **settings: Any) -> Edges:
    """Two edges; a call costs 1,000 credits on `dear`, and also on `gift`, which visitors may use."""
    channel = factories.channel(upstream.url)
    for model, free in (("dear", False), ("gift", True)):
        factories.model(model, channel, input=0, output=0, per_call=PER_CALL, is_free=free)
    return [start_edge(**settings) for _ in range(2)]


def visit(edge: WebProcess, agent: str) -> tuple[int, dict[str, str], str]:
    """One native stream without a key: status, lower-case headers, whole body."""
    with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=WAIT_SECONDS)) as connection:
        body = json.dumps({"model": "gift", "prompt": "Hi"})
        connection.request("POST", "/api/chat/stream/", body, {"user-agent": agent, "content-type": "application/json"})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read().decode()


def outcomes(answers: list[Response]) -> Counter[str]:
    """Count paid calls, and those refused because the credits are spent (402) or held by running calls (429)."""
    refusals = {(402, "insufficient_credits"), (429, "credits_held")}
    assert all(answer.status == 200 or (answer.status, answer.code) in refusals for answer in answers)
    return Counter("paid" if answer.status == 200 else "refused" for answer in answers)


def assert_ledger_verifies() -> None:
    assert verify_ledger(now_ms()).problems == ()


@POSTGRES
@pytest.mark.usefixtures("bound_database")
def test_concurrent_calls_stop_at_the_keys_monthly_limit(
    any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edges = start_two_edges(upstream, start_edge, database_url=any_database_url, redis_url=redis_url)
    owner = factories.account(1_000_000)
    key, secret = factories.api_key(owner, monthly_credit_limit=7_500)
    answers = run_concurrently(40, lambda number: chat(edges[number % 2], secret, model="dear"))
    assert outcomes(answers) == {"paid": 7, "refused": 33}
    assert all(
        "The key's limit is 7500 credits a month" in answer.body["error"]["message"] for answer in answers if answer.status == 402
    )
    assert month_spending(owner.id, now_ms()) == {key.id: 7_000}
    assert Account.get_by_id(owner.id).balance == 993_000
    assert_ledger_verifies()


@POSTGRES
@pytest.mark.usefixtures("bound_database")
def test_200_concurrent_calls_of_two_members_stop_at_their_limits(
    any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edges = start_two_edges(
        *(upstream, start_edge), database_url=any_database_url, redis_url=redis_url, default_rpm=10_000, default_concurrency=1_000
    )
    owner = factories.account(1_000_000)
    terms = {"ben": MemberTerms("developer", monthly_credit_limit=7_500), "eve": MemberTerms("admin", None, 12_000)}
    members = [add_member(owner.id, f"{name}@example.com", term, origin=ORIGIN).member for name, term in terms.items()]
    secrets = [[create_key(owner.id, "k", member=member.id, origin=ORIGIN).secret for _ in range(2)] for member in members]
    answers = run_concurrently(
        200, lambda number: chat(edges[number % 2], secrets[number // 2 % 2][number // 4 % 2], model="dear")
    )
    assert outcomes(answers) == {"paid": 19, "refused": 181}
    assert member_spending(owner.id, now_ms()) == {members[0].id: 7_000, members[1].id: 12_000}
    assert Account.get_by_id(owner.id).balance == 981_000
    set_member_suspended(owner.id, members[1].id, True, origin=ORIGIN)
    for edge in edges:
        assert chat(edge, secrets[1][0], model="dear").code == "member_suspended"
    assert_ledger_verifies()


@POSTGRES
@pytest.mark.usefixtures("bound_database")
def test_concurrent_calls_stop_at_the_overage_limit(
    any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edges = start_two_edges(upstream, start_edge, database_url=any_database_url, redis_url=redis_url)
    owner = factories.account(1_500)
    _, secret = factories.api_key(owner)
    subscribe(owner.id, create_plan("pro", {"monthly_credits": 3_000, "overage_allowed": True}, origin=ORIGIN).id, origin=ORIGIN)
    set_overage(owner.id, 5_200, origin=ORIGIN)
    answers = run_concurrently(40, lambda number: chat(edges[number % 2], secret, model="dear"))
    assert outcomes(answers) == {"paid": 9, "refused": 31}
    assert all(answer.body["yout"]["credits_charged"] == PER_CALL for answer in answers if answer.status == 200)
    row = Subscription.get()
    assert (Account.get_by_id(owner.id).balance, row.overage_used, row.overage_held) == (0, 4_500, 0)
    assert sum(usage.overage_credits for usage in UsageLedger.select()) == 4_500
    assert_ledger_verifies()


@POSTGRES
@pytest.mark.usefixtures("bound_database")
def test_concurrent_visitors_stop_at_the_daily_and_the_pool_limit(
    any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edges = start_two_edges(
        *(upstream, start_edge),
        database_url=any_database_url,
        redis_url=redis_url,
        visitor_pool_credits=9_000,
        visitor_daily_credits=4_000,
        visitor_rpm=1_000,
        visitor_concurrency=1_000,
    )
    answers = run_concurrently(40, lambda number: visit(edges[number % 2], f"browser {number % 4}"))
    assert Counter(status for status, _, _ in answers) == {200: 9, 429: 31}
    for status, headers, body in answers:
        if status == 429:
            assert json.loads(body)["error"]["code"] in ("daily_allowance_exhausted", "credits_held")
            assert 1 <= int(headers["retry-after"]) <= 60
    assert Account.get_by_id(POOL_ACCOUNT_ID).balance == 0
    assert all(row.used <= 4_000 and row.held == 0 for row in Allowance.select())
    assert Counter(row.kind for row in LedgerEntry.select().where(LedgerEntry.account == POOL_ACCOUNT_ID)) == {
        "grant": 1,
        "charge": 9,
    }
    assert_ledger_verifies()
