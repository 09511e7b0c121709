"""Tags of calls are stored with their usage, and are not sent to providers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.edge.sdks.scripts import text_answer
from tests.edge.shared_edge import Sandbox
from tests.openai_payloads import chunk, completion, role
from tests.servers.process import eventually
from tests.upstream_responses import HANG, error_response, json_response
from tests.upstream_responses import stream as scripted_stream

MESSAGES: Any = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("place", ["header", "body"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/messages", {"messages": MESSAGES, "max_tokens": 100}),
        ("/api/chat/stream/", {"prompt": "Hi"}),
    ],
)
def test_a_tag_is_stored_and_not_sent_to_the_provider(sandbox: Sandbox, path: str, body: dict[str, Any], place: str) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    headers = {"x-yout-tag": "team:search"} if place == "header" else {}
    sent = {"model": sandbox.model, **body, **({} if headers else {"metadata": {"tag": "team:search"}})}
    answer = sandbox.post(json.dumps(sent).encode(), headers, path)
    assert answer.status == 200, answer.body
    [row] = sandbox.usage()
    assert (row.status, row.tag) == ("completed", "team:search")
    [seen] = sandbox.provider.calls
    assert b"team:search" not in seen.body
    assert "x-yout-tag" not in seen.headers
    receipt = sandbox.get(f"/api/receipts/{answer.headers['x-request-id']}/")
    assert receipt.json["tag"] == "team:search"


def test_the_header_takes_precedence_and_untagged_calls_have_none(sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."), text_answer("Hello there."))
    sandbox.chat({"x-yout-tag": "header"}, metadata={"tag": "body"})
    sandbox.chat()
    assert [row.tag for row in sandbox.usage()] == ["header", None]


def test_failed_and_cut_calls_keep_their_tag(sandbox: Sandbox) -> None:
    sandbox.provider.script(error_response(400), scripted_stream(role(), chunk("Hel"), HANG))
    assert sandbox.chat(metadata={"tag": "failed"}).status == 400
    stream = sandbox.open(metadata={"tag": "cut"})
    stream.read_until(b"Hel")
    stream.disconnect()
    eventually(lambda: len(sandbox.usage()) == 2, "the cut call is settled")
    assert [row.tag for row in sandbox.usage()] == ["failed", "cut"]


def test_an_invalid_tag_is_refused_without_a_call(sandbox: Sandbox) -> None:
    answer = sandbox.chat({"x-yout-tag": "two words"})
    assert (answer.status, answer.error["param"]) == (400, "x-yout-tag")
    assert sandbox.usage() == []


def test_the_sdk_sends_a_tag_by_header_and_by_body(sandbox: Sandbox) -> None:
    sandbox.provider.script(*[json_response(completion("Hello"))] * 2)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client:
        client.chat.completions.create(model=sandbox.model, messages=MESSAGES, extra_headers={"x-yout-tag": "by-header"})
        client.chat.completions.create(model=sandbox.model, messages=MESSAGES, metadata={"tag": "by-body"})
    assert [row.tag for row in sandbox.usage()] == ["by-header", "by-body"]
