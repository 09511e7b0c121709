"""Billing through real edges: callers get at most what they pay for, and pay for at most what was delivered."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import peewee
import pytest

from shared import tokenizer
from shared.billing.image_tokens import IMAGE_TOKENS
from shared.core.clock import now_ms
from shared.core.database import bind_database, database
from shared.ledger import sweep
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS
from shared.ledger.verify import verify_ledger
from shared.models import Account, ApiKey, LedgerEntry, UsageLedger
from shared.operations.accounts import set_account_status
from shared.operations.keys import revoke_key
from shared.operations.prices import Rates, set_price
from tests import factories, openai_payloads
from tests.databases import opened
from tests.edge.http_calls import Response, Stream, chat, chat_body, run_concurrently
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, completion, finish, role, usage
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Upstream, default_script
from tests.upstream_responses import (
    HANG,
    RESET,
    Gate,
    ScriptedResponse,
    context_too_long,
    delayed,
    error_response,
    json_response,
    stream,
)

TEXT = "Hello there, I am a model."
PROMPT_TOKENS = tokenizer.count_tokens(chat_body()["messages"][0]["content"])
TEXT_TOKENS = tokenizer.count_tokens(TEXT)
HELLO = (role(), chunk(TEXT))
PRICES = {"input": 1_000, "output": 2_000, "minimum": 10}  # one credit per input token, two per output token
POLITE_COST = 13  # 7 input and 3 output tokens


class TwoEdges:
    """Two edges on one PostgreSQL, and a scripted provider behind `m-1`, `dear` (1,000 credits per call) and `free`."""

    def __init__(self, edges: list[WebProcess], upstream: Upstream, database: peewee.Database) -> None:
        self.edges, self.upstream, self.database = edges, upstream, database

    @property
    def edge(self) -> WebProcess:
        return self.edges[0]


def stock(upstream: Upstream) -> None:
    """Create the models used by every test here."""
    channel = factories.channel(upstream.url)
    factories.model("m-1", channel, **PRICES)
    factories.model("dear", channel, input=0, output=0, per_call=1_000)
    factories.model("free", channel, input=0, output=0, is_free=True)


@pytest.fixture(scope="module")
def running_edges(
    postgres: Postgres, redis_servers: Callable[[str], RedisServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoEdges]:
    url, upstream, folder = postgres.create_migrated(), Upstream(), tmp_path_factory.mktemp("two_edges")
    with opened(url) as target:
        bind_database(target)
        stock(upstream)
        environ = environment_of({"database_url": url, "redis_url": redis_servers("valkey").url})
        edges: list[WebProcess] = []
        try:
            for _ in range(2):
                edges.append(start_edge(folder, environ))
            yield TwoEdges(edges, upstream, target)
        finally:
            for edge in edges:
                edge.kill()
            upstream.close()
    postgres.drop(url)


@pytest.fixture
def two_edges(running_edges: TwoEdges) -> Iterator[TwoEdges]:
    """Checks after the test that the ledger verifies and nothing is held."""
    bind_database(running_edges.database)
    yield running_edges
    running_edges.upstream.default = default_script
    assert_ledger_verifies()
    database.initialize(None)


def assert_ledger_verifies() -> None:
    eventually(lambda: not Account.select().where(Account.held > 0).exists(), "holds are released")
    assert verify_ledger(now_ms()).problems == ()


def balance(owner: Account) -> int:
    return int(Account.get_by_id(owner.id).balance)


def usage_of(owner: Account) -> UsageLedger:
    """Wait for the account's only usage row."""
    rows = UsageLedger.select().where(UsageLedger.account == owner.id)
    eventually(lambda: rows.clone().count() == 1, "the call is settled")
    return rows.get()


def customer(credits: int = 1_000_000) -> tuple[Account, str]:
    owner = factories.account(credits)
    return owner, factories.api_key(owner)[1]


# Concurrent calls never exceed the balance


@pytest.mark.parametrize(
    ("any_database_url", "edges", "workers"),
    [("sqlite", 1, 1), ("postgresql", 2, 1), ("postgresql", 1, 2)],
    indirect=["any_database_url"],
    ids=["sqlite", "two edges", "two workers"],
)
def test_of_200_concurrent_calls_only_the_affordable_ones_succeed(
    bound_database: Any,
    any_database_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: Any,
    edges: int,
    workers: int,
) -> None:
    stock(upstream)
    owner, secret = customer(37_000)
    running = [start_edge(database_url=any_database_url, redis_url=redis_url, edge_workers=workers) for _ in range(edges)]

    answers = run_concurrently(200, lambda number: chat(running[number % edges], secret, model="dear"))

    paid = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 402]
    waiting = [answer for answer in answers if answer.status == 429]
    assert (len(paid), len(refused) + len(waiting)) == (37, 163)
    assert all(answer.body["yout"]["credits_charged"] == 1_000 for answer in paid)
    assert sorted(answer.body["yout"]["balance"] for answer in paid) == list(range(0, 37_000, 1_000))
    for answer in refused:
        assert answer.code == "insufficient_credits"
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-ratelimit-limit-requests"]
        details = answer.body["yout"]
        assert (details["required"], details["max_tokens_affordable"]) == (1_000, 0)
        assert 0 <= details["balance"] <= 37_000
    for answer in waiting:
        assert answer.code == "credits_held"
        assert "x-should-retry" not in answer.headers
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        assert answer.body["yout"]["available"] < answer.body["yout"]["required"]
    assert len(upstream.calls) == 37
    charged = -sum(entry.amount for entry in LedgerEntry.select().where(LedgerEntry.kind == "charge"))
    assert (balance(owner), charged) == (0, 37_000)
    assert_ledger_verifies()
    assert [edge.terminate() for edge in running] == [0] * edges


def test_a_low_balance_shortens_the_answer(two_edges: TwoEdges) -> None:
    owner, secret = customer(90)
    two_edges.upstream.script(json_response(completion(TEXT, usage={"prompt_tokens": 20, "completion_tokens": 1_000})))
    answer = chat(two_edges.edge, secret, max_tokens=5_000)
    assert 16 <= two_edges.upstream.calls[-1].json["max_tokens"] <= 45
    assert answer.body["yout"] == {"credits_charged": 90, "balance": 0}
    assert usage_of(owner).overrun_credits == 20 + 2_000 - 90


def test_a_balance_too_low_for_any_useful_answer_is_rejected(two_edges: TwoEdges) -> None:
    _, secret = customer(40)
    before = len(two_edges.upstream.calls)
    answer = chat(two_edges.edge, secret)
    assert (answer.status, answer.code) == (402, "insufficient_credits")
    details = answer.body["yout"]
    assert details["balance"] == 40
    assert details["required"] > 40
    assert 0 < details["max_tokens_affordable"] < 16
    assert len(two_edges.upstream.calls) == before


def test_a_cap_below_the_minimum_rejects_the_call(two_edges: TwoEdges) -> None:
    _, secret = customer()
    before = len(two_edges.upstream.calls)
    answer = chat(two_edges.edge, secret, {"x-yout-max-credits": "9"})
    assert (answer.status, answer.code) == (402, "insufficient_credits")
    assert answer.headers["x-should-retry"] == "false"
    details = answer.body["yout"]
    assert (details["balance"], details["max_credits"], details["required"] > 9) == (1_000_000, 9, True)
    assert len(two_edges.upstream.calls) == before


def test_a_call_never_costs_more_than_its_cap(two_edges: TwoEdges) -> None:
    _, secret = customer()
    two_edges.upstream.script(json_response(completion(TEXT, usage={"prompt_tokens": 20, "completion_tokens": 1_000})))
    answer = chat(two_edges.edge, secret, {"x-yout-max-credits": "100"}, max_tokens=3_000)
    assert answer.body["yout"] == {"credits_charged": 100, "balance": 999_900}
    assert two_edges.upstream.calls[-1].json["max_tokens"] <= 50


# Charges


IMPOSSIBLE: list[dict[str, Any] | None] = [
    None,
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": -7, "completion_tokens": -3},
    {"prompt_tokens": 7.5, "completion_tokens": 3.0},
    {"prompt_tokens": True, "completion_tokens": False},
    {"prompt_tokens": "7", "completion_tokens": "3"},
    {"prompt_tokens": 10**12, "completion_tokens": 2**63},
]


@pytest.mark.parametrize("details", IMPOSSIBLE)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_impossible_usage_is_counted_locally(two_edges: TwoEdges, streaming: bool, details: dict[str, Any] | None) -> None:
    owner, secret = customer()
    ending = [finish("stop", usage=details)] if details else [finish()]
    two_edges.upstream.script(stream(*HELLO, *ending, DONE) if streaming else json_response(completion(TEXT, usage=details)))
    with Stream(two_edges.edge, secret, stream=streaming, max_tokens=500) as call:
        call.response_head()
        if streaming:
            call.remaining_events()
        else:
            call.response.read()
    row = usage_of(owner)
    assert (row.estimated, row.input_tokens, row.output_tokens) == (True, PROMPT_TOKENS, TEXT_TOKENS)
    assert row.credits == PROMPT_TOKENS + 2 * TEXT_TOKENS == 1_000_000 - balance(owner)


def test_one_impossible_count_does_not_affect_the_other(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    two_edges.upstream.script(json_response(completion(TEXT, usage={"prompt_tokens": 9, "completion_tokens": 10**12})))
    chat(two_edges.edge, secret)
    row = usage_of(owner)
    assert (row.estimated, row.input_tokens, row.output_tokens) == (True, 9, TEXT_TOKENS)


@pytest.mark.parametrize("details", [None, {"prompt_tokens": 7, "completion_tokens": 0}])
def test_an_empty_completion_costs_nothing(two_edges: TwoEdges, details: dict[str, Any] | None) -> None:
    owner, secret = customer()
    two_edges.upstream.script(json_response(completion("", usage=details)))
    assert chat(two_edges.edge, secret).body["yout"] == {"credits_charged": 0, "balance": 1_000_000}
    assert usage_of(owner).status == "completed"


def test_uncountable_output_costs_the_minimum(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    two_edges.upstream.script(json_response(completion(None, audio={"id": "a", "data": "UklGRg=="})))
    chat(two_edges.edge, secret)
    assert usage_of(owner).credits >= 10


def test_a_free_model_needs_no_credits(two_edges: TwoEdges) -> None:
    _, secret = customer(0)
    assert chat(two_edges.edge, secret, model="free").body["yout"] == {"credits_charged": 0, "balance": 0}


def test_cached_tokens_have_their_own_price(two_edges: TwoEdges) -> None:
    factories.model("cached", factories.channel(two_edges.upstream.url), **PRICES, cached_input=100)
    _, secret = customer()
    details = {"prompt_tokens": 1_000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 800}}
    eventually(
        lambda: chat(two_edges.edge, factories.api_key(factories.account())[1], model="cached").status == 200,
        "the new model serves",
    )
    two_edges.upstream.script(json_response(completion(TEXT, usage=details)))
    assert chat(two_edges.edge, secret, model="cached").body["yout"]["credits_charged"] == 200 + 80 + 20


# Client disconnects


def test_a_disconnect_bills_delivered_output(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    two_edges.upstream.script(stream(*HELLO, HANG))
    with Stream(two_edges.edge, secret, max_tokens=500) as call:
        call.response_head()
        call.read_text(TEXT)
        upstream_call = two_edges.upstream.calls[-1]
    assert upstream_call.wait_outcome() == "disconnected"
    row = usage_of(owner)
    assert (row.status, row.error_code, row.estimated) == ("cancelled", "client_closed", True)
    assert row.credits == PROMPT_TOKENS + 2 * TEXT_TOKENS == 1_000_000 - balance(owner)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_disconnect_before_the_first_token_bills_the_prompt(two_edges: TwoEdges, streaming: bool) -> None:
    """On every attempt: a caller who disconnects just before the answer must not use providers for free."""
    owner, secret = customer()
    text = "Say something long about " + "everything " * 100
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    prompt = [{"role": "user", "content": [{"type": "text", "text": text}, image]}]
    cost = tokenizer.count_tokens(text) + IMAGE_TOKENS // 3
    for times in (1, 2):
        gate = Gate()
        two_edges.upstream.script(delayed(gate, stream(role(), HANG)))
        with Stream(two_edges.edge, secret, stream=streaming, messages=prompt):
            gate.wait_reached()
        assert two_edges.upstream.calls[-1].wait_outcome() == "disconnected"
        eventually(lambda: balance(owner) == 1_000_000 - times * cost, "the prompt is charged")  # noqa: B023  (called at once)
        gate.open()
    for row in UsageLedger.select().where(UsageLedger.account == owner.id):
        assert (row.status, row.error_code, row.credits, row.estimated) == ("cancelled", "client_closed", cost, True)
        assert (row.input_tokens, row.output_tokens, row.cut) == (cost, 0, "cancelled_upstream")


def test_a_disconnect_costs_nothing_if_the_provider_does_not_bill_cancelled_calls(two_edges: TwoEdges) -> None:
    factories.model("own", factories.channel(two_edges.upstream.url, settings={"cancel": "free"}), **PRICES)
    owner, secret = customer()
    eventually(
        lambda: chat(two_edges.edge, factories.api_key(factories.account())[1], model="own").status == 200, "the new model serves"
    )
    gate = Gate()
    two_edges.upstream.script(delayed(gate, stream(*HELLO, HANG)))
    with Stream(two_edges.edge, secret, model="own"):
        gate.wait_reached()
    assert (usage_of(owner).status, usage_of(owner).credits) == ("cancelled", 0)
    gate.open()


def test_reasoning_that_no_limit_counts_is_held_and_relayed_within_its_own_limit(two_edges: TwoEdges) -> None:
    """An answer with 700 reasoning tokens is not cut off; an endless one is cut off beyond what both limits pay for."""
    channel = factories.channel(two_edges.upstream.url, settings={"reasoning_tokens_limit": {"thinker": 500}})
    factories.model("thinker", channel, upstream_model="thinker", **PRICES)
    owner, secret = customer()
    eventually(
        lambda: chat(two_edges.edge, factories.api_key(factories.account())[1], model="thinker").status == 200,
        "the new model serves",
    )
    thoughts = [openai_payloads.event([{"index": 0, "delta": {"reasoning_content": " thought" * 100}}])] * 7
    two_edges.upstream.script(stream(role(), *thoughts, chunk(TEXT), finish(), usage(7, 510), DONE))
    with Stream(two_edges.edge, secret, model="thinker", max_tokens=10) as call:
        call.response_head()
        *chunks, last, _ = call.remaining_events()
    assert sum(chunk["choices"][0]["delta"].get("reasoning_content", "").count("thought") for chunk in chunks) == 700
    assert last["choices"][0]["finish_reason"] == "stop"
    assert balance(owner) == 1_000_000 - 7 - 2 * 510
    assert two_edges.upstream.calls[-1].json["max_tokens"] == 10
    # The length is checked again after at most a quarter more.
    two_edges.upstream.script(stream(role(), *thoughts, *thoughts, *thoughts, HANG))
    with Stream(two_edges.edge, secret, model="thinker", max_tokens=10) as call:
        call.response_head()
        assert call.remaining_events()[-2]["choices"][0]["finish_reason"] == "length"
    assert two_edges.upstream.calls[-1].wait_outcome() == "disconnected"
    refused = chat(two_edges.edge, factories.api_key(factories.account(1_000))[1], model="thinker", max_tokens=10)
    assert (refused.status, refused.code) == (402, "insufficient_credits")


def test_a_broken_upstream_stream_bills_delivered_output(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    two_edges.upstream.script(stream(*HELLO, RESET))
    with Stream(two_edges.edge, secret) as call:
        call.response_head()
        assert call.remaining_events()[-1]["error"]["code"] == "upstream_error"
    row = usage_of(owner)
    assert (row.status, row.credits) == ("failed", PROMPT_TOKENS + 2 * TEXT_TOKENS)


def test_disconnects_at_any_moment_leave_no_hold_or_slot(two_edges: TwoEdges) -> None:
    owner = factories.account()
    _, secret = factories.api_key(owner, concurrency=100)

    def call_and_leave(number: int) -> None:
        with Stream(two_edges.edges[number % 2], secret, stream=number % 3 > 0):
            time.sleep(number % 25 * 0.001)  # the time of the disconnect is the input of this test; nothing is measured

    for _ in range(2):
        run_concurrently(50, call_and_leave)
    assert_ledger_verifies()
    # All slots are free again: the key's full concurrency gets through.
    answers = run_concurrently(100, lambda number: chat(two_edges.edges[number % 2], secret))
    assert {answer.status for answer in answers} == {200}


# Revoked, expired and suspended keys


def test_a_revoked_key_is_rejected_on_the_next_request_to_every_edge(two_edges: TwoEdges) -> None:
    row, secret = factories.api_key(factories.account())
    assert [chat(edge, secret).status for edge in two_edges.edges] == [200, 200]
    revoke_key(row.id, origin=ORIGIN)
    for edge in two_edges.edges:
        answer = chat(edge, secret)
        assert (answer.status, answer.code) == (401, "invalid_api_key")
        assert answer.body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("fields", [{"model": "no-such-model"}, {"messages": []}, {"max_tokens": -1}])
def test_a_revoked_key_gets_no_other_error(two_edges: TwoEdges, fields: dict[str, Any]) -> None:
    row, secret = factories.api_key(factories.account())
    assert chat(two_edges.edge, secret).status == 200
    assert chat(two_edges.edge, secret, **fields).status in (400, 404)
    revoke_key(row.id, origin=ORIGIN)
    for edge in two_edges.edges:
        assert chat(edge, secret, **fields).status == 401


def test_an_expired_key_is_refused(two_edges: TwoEdges) -> None:
    row, secret = factories.api_key(factories.account())
    assert [chat(edge, secret).status for edge in two_edges.edges] == [200, 200]
    ApiKey.update(expires_at=now_ms()).where(ApiKey.id == row.id).execute()
    assert [chat(edge, secret).code for edge in two_edges.edges] == ["invalid_api_key"] * 2


def test_a_suspended_account_is_refused_until_it_is_active_again(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    assert [chat(edge, secret).status for edge in two_edges.edges] == [200, 200]
    set_account_status(owner.id, "suspended", origin=ORIGIN)
    answers = [chat(edge, secret) for edge in two_edges.edges]
    assert [(answer.status, answer.code) for answer in answers] == [(403, "account_suspended")] * 2
    set_account_status(owner.id, "active", origin=ORIGIN)
    assert [chat(edge, secret).status for edge in two_edges.edges] == [200, 200]


def expire(key: UUID) -> None:
    ApiKey.update(expires_at=now_ms()).where(ApiKey.id == key).execute()


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda owner, key: revoke_key(key, origin=ORIGIN), "invalid_api_key"),
        (lambda owner, key: expire(key), "invalid_api_key"),
        (lambda owner, key: set_account_status(owner, "suspended", origin=ORIGIN), "account_suspended"),
    ],
    ids=["revoked", "expired", "suspended"],
)
def test_a_running_stream_is_ended_and_bills_delivered_output(
    two_edges: TwoEdges, stop: Callable[[UUID, UUID], Any], code: str
) -> None:
    owner = factories.account()
    key, secret = factories.api_key(owner)
    _, other_secret = customer()
    gate = Gate()
    two_edges.upstream.script(stream(*HELLO, HANG), stream(*HELLO, gate, finish(), usage(7, 3), DONE))
    with Stream(two_edges.edge, secret) as cut:
        cut.response_head()
        cut.read_text(TEXT)
        upstream_call = two_edges.upstream.calls[-1]
        # sent only now, because scripted responses are consumed in order of arrival
        with Stream(two_edges.edge, other_secret) as other:
            other.response_head()
            other.read_text(TEXT)
            stop(owner.id, key.id)
            ending = cut.remaining_events()
            assert [event["error"]["code"] for event in ending] == [code]
            assert upstream_call.wait_outcome() == "disconnected"
            gate.open()
            assert other.remaining_events()[-1] == {"done": True}
    row = usage_of(owner)
    assert (row.status, row.error_code, row.credits) == ("cancelled", code, PROMPT_TOKENS + 2 * TEXT_TOKENS)


def test_a_call_without_output_gets_401_when_its_key_is_revoked(two_edges: TwoEdges) -> None:
    owner = factories.account()
    key, secret = factories.api_key(owner)
    gate = Gate()
    two_edges.upstream.script(delayed(gate, json_response(completion(TEXT))))
    with Stream(two_edges.edge, secret, stream=False) as call:
        gate.wait_reached()
        revoke_key(key.id, origin=ORIGIN)
        answer = call.json_response()
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert usage_of(owner).credits == 0
    gate.open()


# Idempotency-Key


def test_an_idempotency_key_prevents_a_second_call(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    _, other_secret = customer()
    headers = {"idempotency-key": "order-1"}
    gate = Gate()
    two_edges.upstream.script(delayed(gate, polite_answer()))
    with Stream(two_edges.edge, secret, headers, stream=False) as first:
        gate.wait_reached()
        for edge in two_edges.edges:
            answer = chat(edge, secret, headers)
            assert (answer.status, answer.code) == (409, "idempotency_in_progress")
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-ratelimit-limit-requests"]
        assert chat(two_edges.edges[1], secret, headers, temperature=1).code == "idempotency_key_reused"
        assert chat(two_edges.edge, other_secret, headers).status == 200
        gate.open()
        done = first.json_response()
    assert done.body["yout"]["credits_charged"] == POLITE_COST
    for edge in two_edges.edges:
        answer = chat(edge, secret, headers)
        assert (answer.status, answer.code) == (409, "idempotency_key_used")
        assert answer.body["yout"] == {"request_id": done.headers["x-request-id"], "credits_charged": POLITE_COST}
    reused = chat(two_edges.edge, secret, headers, temperature=1)
    assert (reused.status, reused.code) == (400, "idempotency_key_reused")
    assert balance(owner) == 1_000_000 - POLITE_COST


def polite_answer() -> ScriptedResponse:
    return json_response(completion(TEXT, usage={"prompt_tokens": 7, "completion_tokens": 3}))


def test_concurrent_calls_with_one_idempotency_key_make_one_call(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    answers = run_concurrently(30, lambda number: chat(two_edges.edges[number % 2], secret, {"idempotency-key": "same"}))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 29
    assert balance(owner) == 1_000_000 - POLITE_COST


@pytest.mark.parametrize("failure", [context_too_long(), error_response(401)], ids=["refused", "failed"])
def test_an_uncharged_failure_releases_the_idempotency_key(two_edges: TwoEdges, failure: ScriptedResponse) -> None:
    _, secret = customer()
    headers = {"idempotency-key": "again"}
    two_edges.upstream.script(failure)
    assert chat(two_edges.edge, secret, headers).status in (400, 502)
    assert chat(two_edges.edges[1], secret, headers).status == 200


def test_an_early_disconnect_releases_the_idempotency_key(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    headers = {"idempotency-key": "left"}
    gate = Gate()
    two_edges.upstream.script(delayed(gate, polite_answer()))
    with Stream(two_edges.edge, secret, headers):
        gate.wait_reached()
    assert usage_of(owner).status == "cancelled"
    assert chat(two_edges.edge, secret, headers).status == 200
    gate.open()


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_the_length_of_an_idempotency_key_is_limited(two_edges: TwoEdges, key: str) -> None:
    _, secret = customer()
    answer = chat(two_edges.edge, secret, {"idempotency-key": key})
    assert (answer.status, answer.body["error"]["param"]) == (400, "Idempotency-Key")


# Price changes


def test_a_running_call_keeps_its_initial_price(two_edges: TwoEdges) -> None:
    factories.model("changing", factories.channel(two_edges.upstream.url), **PRICES)
    owner, secret = customer()
    gate = Gate()
    eventually(lambda: chat(two_edges.edge, customer()[1], model="changing").status == 200, "the new model serves")
    two_edges.upstream.script(stream(*HELLO, gate, finish(), usage(7, 3), DONE))
    with Stream(two_edges.edge, secret, model="changing") as call:
        call.response_head()
        call.read_text(TEXT)
        set_price("changing", Rates(1_000_000, 0), origin=ORIGIN)

        def charged() -> Any:
            return chat(two_edges.edge, customer()[1], model="changing").body["yout"]["credits_charged"]

        eventually(lambda: charged() == 7_000, "the new price is in force")
        gate.open()
        call.remaining_events()
    assert usage_of(owner).credits == POLITE_COST


# Edge shutdown and crash


def open_streams(edge: WebProcess, secret: str, number: int) -> list[Stream]:
    """Streams that have delivered `TEXT` and are still open."""
    calls = [Stream(edge, secret) for _ in range(number)]
    for call in calls:
        call.response_head()
        call.read_text(TEXT)
    return calls


def test_a_killed_edge_leaves_nothing_held_or_charged_twice(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    stock(upstream)
    owner, secret = customer()
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    assert chat(edge, secret).body["yout"]["credits_charged"] == POLITE_COST
    upstream.default = stream(*HELLO, HANG)
    calls = open_streams(edge, secret, 6)

    edge.kill()

    for call in calls:
        assert {"done": True} not in call.remaining_events()
        call.disconnect()
    assert Account.get_by_id(owner.id).held > 0
    assert sweep(now_ms()) == 0
    later_on = now_ms() + HEARTBEAT_TIMEOUT_MS + 1_000
    assert [sweep(later_on), sweep(later_on)] == [6, 0]
    row = Account.get_by_id(owner.id)
    assert (row.balance, row.held) == (1_000_000 - POLITE_COST, 0)
    assert UsageLedger.select().where(UsageLedger.status == "expired").count() == 6
    assert verify_ledger(later_on).problems == ()

    upstream.default = default_script
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    assert chat(edge, secret).body["yout"]["balance"] == 1_000_000 - 2 * POLITE_COST


def test_a_graceful_shutdown_lets_streams_finish_and_settles_the_rest(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    stock(upstream)
    (ending, ending_secret), (endless, endless_secret) = customer(), customer()
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, drain_seconds=2)
    gate = Gate()
    upstream.script(stream(*HELLO, gate, finish(), usage(7, 3), DONE), stream(*HELLO, HANG))
    (first,) = open_streams(edge, ending_secret, 1)
    (second,) = open_streams(edge, endless_secret, 1)

    edge.process.send_signal(signal.SIGTERM)
    threading.Timer(0.5, gate.open).start()

    assert first.remaining_events()[-1] == {"done": True}
    assert [event["error"]["code"] for event in second.remaining_events()] == ["service_unavailable"]
    assert edge.process.wait() == 0
    assert usage_of(ending).credits == POLITE_COST
    row = usage_of(endless)
    assert (row.status, row.credits) == ("cancelled", PROMPT_TOKENS + 2 * TEXT_TOKENS)
    assert_ledger_verifies()
    for call in (first, second):
        call.disconnect()


def test_the_duration_of_a_call_is_limited(
    bound_postgres: Any, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    stock(upstream)
    owner, secret = customer()
    edge = start_edge(database_url=postgres_url, redis_url=redis_url, call_seconds=5)
    upstream.script(stream(*HELLO, HANG))
    (call,) = open_streams(edge, secret, 1)
    assert [event["error"]["code"] for event in call.remaining_events()] == ["upstream_timeout"]
    assert usage_of(owner).credits == PROMPT_TOKENS + 2 * TEXT_TOKENS
    call.disconnect()


def test_response_ids_match_the_ledger(two_edges: TwoEdges) -> None:
    owner, secret = customer()
    answer: Response = chat(two_edges.edge, secret)
    assert answer.headers["x-request-id"] == f"req_{usage_of(owner).id.hex}"
