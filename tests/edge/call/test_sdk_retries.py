"""Retries that client libraries number, without an `Idempotency-Key`: each call is charged once."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy
from uuid import uuid4

import pytest

from bench.sdk_retries import readable
from edge.store.kept_answers import RUNNING, Entry, KeptAnswers, call_name
from edge.store.limiter import Limiter
from tests.edge.shared_edge import DEFAULT_COST, OpenStream, Sandbox, Stack
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.process import eventually
from tests.upstream_responses import Gate, delayed, error_response, json_response, stream

COUNT = "x-stainless-retry-count"
FIRST, RETRY = {COUNT: "0"}, {COUNT: "1"}
KEEP = {"x-yout-safe-retries": "true"}
SECRET_TEXT = "Tangerine zeppelins hum."


@pytest.fixture
def other_edge(stack: Stack, sandbox: Sandbox) -> Sandbox:
    """The same account on a second edge, which sends keepalives early."""
    other = copy(sandbox)
    other.edge = stack.edge(keepalive_first_seconds=1, keepalive_seconds=1)
    return other


def send(sandbox: Sandbox, headers: dict[str, str], **fields: object) -> OpenStream:
    """Send a chat on a connection that the test can close."""
    return OpenStream(sandbox.edge.port, sandbox.secret, json.dumps(sandbox.body(**fields)).encode(), headers=headers)


def test_a_retry_of_a_running_call_is_refused(sandbox: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(delayed(gate, json_response(completion("Hello", usage=tokens(7, 3)))))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sandbox.chat, FIRST)
        gate.wait_reached()
        refused = sandbox.chat(RETRY)
        gate.open()
        assert first.result().status == 200
    assert (refused.status, refused.error["code"]) == (409, "retry_of_running_call")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json["yout"] == {"request_id": first.result().headers["x-request-id"]}
    assert sandbox.charged == DEFAULT_COST


def test_a_retry_of_a_charged_call_that_was_cut_off_is_refused_by_each_edge(sandbox: Sandbox, other_edge: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(delayed(gate, json_response(completion("Hello", usage=tokens(7, 3)))))
    first = send(sandbox, FIRST)
    gate.wait_reached()
    first.disconnect()
    eventually(lambda: len(sandbox.usage()) == 1, "the prompt is charged")
    gate.open()
    for refused in (sandbox.chat(RETRY), other_edge.chat(RETRY)):
        assert (refused.status, refused.error["code"]) == (409, "retry_of_charged_call")
        assert refused.json["yout"]["credits_charged"] == sandbox.charged > 0
    assert sandbox.chat(FIRST).status == 200  # a new request


def test_a_retry_of_a_call_without_a_charge_is_a_new_call(sandbox: Sandbox) -> None:
    sandbox.provider.script(error_response(500), error_response(500), error_response(500))
    assert sandbox.chat(FIRST).status == 502
    assert sandbox.chat(RETRY).status == 200
    assert sandbox.charged == DEFAULT_COST


def test_a_retry_after_an_error_is_a_new_call_even_if_an_identical_call_is_running(sandbox: Sandbox, other_edge: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(
        delayed(gate, json_response(completion("Hello", usage=tokens(7, 3)))),
        error_response(500),
        error_response(500),
        error_response(500),
    )
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sandbox.chat, FIRST)
        gate.wait_reached()
        assert other_edge.chat(FIRST).status == 502
        assert sandbox.chat(RETRY).status == 200
        assert sandbox.chat(RETRY).status == 409  # each error explains one retry
        gate.open()
        assert first.result().status == 200


def test_a_retry_whose_first_answer_was_lost_on_the_way_is_refused(sandbox: Sandbox) -> None:
    assert sandbox.chat(FIRST).status == 200
    refused = sandbox.chat(RETRY)
    assert refused.error["code"] == "retry_of_charged_call"
    assert refused.json["yout"]["credits_charged"] == sandbox.charged == DEFAULT_COST


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
def test_a_kept_answer_is_sent_to_the_retry_on_any_edge(sandbox: Sandbox, other_edge: Sandbox, fields: dict[str, object]) -> None:
    gate = Gate()
    if fields:
        answer = stream(role(), chunk(SECRET_TEXT[:9]), gate, chunk(SECRET_TEXT[9:]), finish(), usage(7, 3), DONE)
    else:
        answer = delayed(gate, json_response(completion(SECRET_TEXT, usage=tokens(7, 3))))
    sandbox.provider.script(answer)
    first = send(sandbox, {**FIRST, **KEEP}, **fields)
    gate.wait_reached()
    if fields:
        first.read_until(SECRET_TEXT[:9].encode())
    first.disconnect()
    with ThreadPoolExecutor(2) as pool:
        retries = [pool.submit(each.chat, {**RETRY, **KEEP}, **fields) for each in (sandbox, other_edge)]
        eventually(lambda: not sandbox.usage(), "nothing is charged yet")
        gate.open()
        for retry in retries:
            reply = retry.result()
            assert reply.status == 200
            assert reply.headers["x-yout-replayed"] == "true"
            assert (reply.text if fields else reply.json["choices"][0]["message"]["content"]) == SECRET_TEXT
    assert sandbox.charged == DEFAULT_COST
    assert len(sandbox.provider.calls) == 1
    assert readable(sandbox.redis_url) == 0


def test_retries_that_leave_while_they_wait_neither_repeat_nor_charge_the_call(sandbox: Sandbox, other_edge: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(delayed(gate, json_response(completion(SECRET_TEXT, usage=tokens(7, 3)))))
    first = send(sandbox, {**FIRST, **KEEP})
    gate.wait_reached()
    first.disconnect()
    waiting = [send(each, {**RETRY, **KEEP}) for each in (sandbox, other_edge) * 4]
    for retry in waiting[:4]:
        retry.disconnect()
    gate.open()
    eventually(lambda: len(sandbox.usage()) == 1, "the call is charged")
    for retry in waiting[4:]:
        retry.disconnect()
    reply = other_edge.chat({**RETRY, **KEEP})
    assert (reply.status, reply.headers["x-yout-replayed"]) == (200, "true")
    assert (sandbox.charged, len(sandbox.usage()), len(sandbox.provider.calls)) == (DEFAULT_COST, 1, 1)


def test_a_kept_call_that_fails_is_made_again(sandbox: Sandbox) -> None:
    gate = Gate()
    failing = [error_response(500)] * 3
    sandbox.provider.script(delayed(gate, failing[0]), *failing[1:])
    first = send(sandbox, {**FIRST, **KEEP})
    gate.wait_reached()
    first.disconnect()
    with ThreadPoolExecutor(1) as pool:
        retry = pool.submit(sandbox.chat, {**RETRY, **KEEP})
        gate.open()
        assert retry.result().status == 200
    assert "x-yout-replayed" not in retry.result().headers
    assert sandbox.charged == DEFAULT_COST


async def test_a_kept_call_whose_process_died_is_made_again(sandbox: Sandbox) -> None:
    body = json.dumps(sandbox.body()).encode()
    name = call_name(sandbox.account.id, sandbox.secret.encode(), "/v1/chat/completions", body)
    limiter = Limiter(sandbox.redis_url, 60)
    with closing(KeptAnswers(sandbox.redis_url, limiter)) as kept:
        assert await kept.put(name, Entry(RUNNING, False, uuid4()))
    await limiter.close()
    reply = await asyncio.to_thread(sandbox.post, body, {**RETRY, **KEEP})
    assert reply.status == 200
    assert "x-yout-replayed" not in reply.headers
    assert sandbox.charged == DEFAULT_COST


def test_retries_can_be_new_calls(sandbox: Sandbox) -> None:
    never = {"x-yout-safe-retries": "false"}
    assert sandbox.chat({**FIRST, **never}).status == 200
    assert sandbox.chat({**RETRY, **never}).status == 200
    assert sandbox.chat({"x-yout-safe-retries": "yes"}).error["param"] == "x-yout-safe-retries"
