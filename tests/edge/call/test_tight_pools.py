"""Calls that share a tight pool, on a real edge: extended holds, credits that other calls hold, and streams that are cut."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from shared import tokenizer
from shared.models import Account, AIModel, UsageLedger
from tests import factories
from tests.edge.shared_edge import OpenStream, Reply, Sandbox
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.process import eventually
from tests.upstream_responses import HANG, Gate, json_response, stream

WORDS = "one two three four five six seven eight nine ten " * 10  # 100 tokens
CHUNK_TOKENS = tokenizer.count_tokens(WORDS)
FIRST_HOLD = 2_048  # a stream of an unknown model holds 1,024 output tokens, at 2 credits each, besides its prompt


class Customer:
    """An account with few credits, on the sandbox's model."""

    def __init__(self, sandbox: Sandbox, credits: int) -> None:
        self.sandbox, self.credits = sandbox, credits
        self.account = factories.account(credits)
        self.secret = factories.api_key(self.account)[1]

    def chat(self, **fields: Any) -> Reply:
        return self.sandbox.chat({"authorization": f"Bearer {self.secret}"}, **fields)

    def open(self, **fields: Any) -> OpenStream:
        body = json.dumps(self.sandbox.body(stream=True, **fields)).encode()
        self.sandbox._open.append(OpenStream(self.sandbox.edge.port, self.secret, body))
        return self.sandbox._open[-1]

    @property
    def row(self) -> Account:
        found: Account = Account.get_by_id(self.account.id)
        return found


def test_a_hold_grows_while_its_stream_is_relayed(sandbox: Sandbox) -> None:
    customer, gates = Customer(sandbox, 12_000), (Gate(), Gate())
    parts = [chunk(WORDS)] * 5
    sandbox.provider.script(
        stream(role(), chunk("a "), gates[0], *parts, *parts, gates[1], *parts * 4, finish(), usage(7, 3_000), DONE)
    )
    answer = customer.open()
    answer.read_until(b'"a "')
    assert FIRST_HOLD < customer.row.held < FIRST_HOLD + 100
    gates[0].open()
    eventually(lambda: customer.row.held >= 2 * FIRST_HOLD, "the hold is doubled")
    gates[1].open()
    answer.read_until(b"[DONE]")
    assert b'"stop"' in answer.received
    assert b"stopped" not in answer.received
    assert (customer.row.balance, customer.row.held) == (12_000 - 7 - 6_000, 0)
    assert "max_tokens" not in sandbox.provider.calls[-1].json


def test_a_stream_ends_when_no_credits_are_left(sandbox: Sandbox) -> None:
    customer, gate, last_part = Customer(sandbox, 3_000), Gate(), Gate()
    sandbox.provider.script(stream(role(), chunk("a "), gate, *[chunk(WORDS)] * 14, last_part, *[chunk(WORDS)] * 3, HANG))
    answer = customer.open()
    answer.read_until(b'"a "')
    waiting = customer.chat(stream=True)
    assert (waiting.status, waiting.error["code"]) == (429, "credits_held")
    assert 500 <= int(waiting.headers["retry-after-ms"]) <= 5_000
    assert "x-should-retry" not in waiting.headers
    details = waiting.json["yout"]
    assert details["required"] > details["available"]
    assert details["available"] + details["held"] == 3_000
    gate.open()
    last_part.wait_reached()
    eventually(lambda: customer.row.held == 3_000, "the stream holds all credits")
    last_part.open()
    answer.read_until(b"[DONE]")
    last = json.loads(answer.received.rsplit(b"data: ", 2)[1])
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["yout"]["stopped"] == "credits"
    assert sandbox.provider.calls[-1].wait_outcome() == "disconnected"
    row = UsageLedger.get(UsageLedger.account == customer.account)
    assert (row.status, row.cut, row.estimated) == ("completed", "cancelled_upstream", True)
    assert row.credits == 3_000
    assert row.overrun_credits < 3 * 2 * CHUNK_TOKENS  # what came in the last burst
    assert customer.row.held == 0
    refused = customer.chat(stream=True)
    assert (refused.status, refused.error["code"], refused.headers["x-should-retry"]) == (402, "insufficient_credits", "false")


def test_complete_answers_hold_what_recent_ones_used(sandbox: Sandbox) -> None:
    customer = Customer(sandbox, 3_000)
    sandbox.provider.default = lambda _: json_response(completion("Hi", usage=tokens(7, 40)))
    for _ in range(10):
        assert customer.chat().status == 200
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("a "), gate, finish(), usage(7, 1), DONE))
    answer = customer.open()
    answer.read_until(b'"a "')
    assert customer.row.held < 200  # not the 1,024 tokens of an unknown model, whose output may take 4,096
    assert customer.chat().status == 200
    gate.open()
    answer.read_until(b"[DONE]")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/completions"])
def test_every_surface_reports_held_credits(sandbox: Sandbox, path: str) -> None:
    customer = Customer(sandbox, 3_000)
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("a "), gate, finish(), usage(7, 1), DONE))
    answer = customer.open()
    answer.read_until(b'"a "')
    body = {"model": sandbox.model, "max_tokens": 4_000, "stream": True}
    body |= {"/v1/messages": {"messages": [{"role": "user", "content": "Hi"}]}, "/v1/completions": {"prompt": "Hi"}}.get(path, {})
    if path == "/v1/responses":
        body = {"model": sandbox.model, "input": "Hi", "stream": True}
    reply = sandbox.post(json.dumps(body).encode(), {"authorization": f"Bearer {customer.secret}"}, path)
    assert reply.status == 429
    assert b"running calls hold" in reply.body
    assert reply.headers["retry-after"] == "1"
    gate.open()
    answer.read_until(b"[DONE]")


def test_the_official_sdk_waits_for_held_credits(sandbox: Sandbox) -> None:
    customer, gate = Customer(sandbox, 3_000), Gate()
    sandbox.provider.script(stream(role(), chunk("a "), gate, finish(), usage(7, 1), DONE))
    sandbox.provider.default = lambda _: stream(role(), chunk("b "), finish(), usage(7, 1), DONE)
    running = customer.open()
    running.read_until(b'"a "')
    refusals: list[int] = []

    def note(response: httpx.Response) -> None:
        refusals.append(response.status_code)
        if len(refusals) == 1:
            gate.open()  # the first call ends while the SDK waits

    http_client = httpx.Client(event_hooks={"response": [note]})
    with openai.OpenAI(base_url=sandbox.api, api_key=customer.secret, max_retries=10, http_client=http_client) as client:
        messages: Any = [{"role": "user", "content": "Hi"}]
        chunks = list(client.chat.completions.create(model=sandbox.model, messages=messages, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in chunks) == "b "
    assert refusals[0] == 429
    assert refusals[-1] == 200
    running.read_until(b"[DONE]")


def test_a_model_can_require_full_holds(sandbox: Sandbox) -> None:
    customer, gate = Customer(sandbox, 3_000), Gate()
    AIModel.update(full_hold=True).where(AIModel.id == sandbox.model).execute()
    factories.raise_catalog_version()
    held: list[int] = []

    def everything_is_held() -> bool:
        opened = Gate()
        sandbox.provider.script(stream(role(), chunk("a "), opened, finish(), usage(7, 1), DONE))
        answer = customer.open()
        answer.read_until(b'"a "')
        held.append(customer.row.held)
        balance = customer.row.balance
        opened.open()
        answer.read_until(b"[DONE]")
        return held[-1] == balance

    eventually(everything_is_held, "the catalog is loaded again")
    sandbox.provider.script(stream(role(), chunk("a "), gate, finish(), usage(7, 1), DONE))
    answer = customer.open(max_tokens=200)
    answer.read_until(b'"a "')
    assert 400 < customer.row.held < 600  # the input's bytes, and 200 tokens at 2 credits each
    gate.open()
    answer.read_until(b"[DONE]")
