"""Shared by the tests of misbehaving providers: valid responses, and what must hold after each call."""

from __future__ import annotations

import json

import pytest

from tests.edge.shared_edge import Sandbox
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.upstream_responses import ScriptedResponse, json_response, stream

both = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
HELLO = (role(), chunk("Hello"), finish())
WHOLE_STREAM = (*HELLO, usage(7, 3), DONE)


def valid_answer(streaming: bool) -> ScriptedResponse:
    return stream(*WHOLE_STREAM) if streaming else json_response(completion("Hello", usage=tokens(7, 3)))


def assert_nothing_charged(sandbox: Sandbox) -> None:
    assert (sandbox.charged, sandbox.held) == (0, 0)
    assert [(row.status, row.credits) for row in sandbox.usage()] in ([("failed", 0)], [("completed", 0)])


def assert_valid_stream(body: bytes) -> None:
    """Asserts every rule for the bytes of a valid stream."""
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    events = body.split(b"\n\n")[:-1]
    assert events[-1] == b"data: [DONE]"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    assert all(event.startswith(b"data: {") for event in events[:-1])
    assert all(isinstance(found["choices"], list) for found in chunks)
    assert len({found["id"] for found in chunks}) == 1
    assert chunks[0]["id"].startswith("chatcmpl-")
    assert {found["object"] for found in chunks} == {"chat.completion.chunk"}
    choices = [choice for found in chunks for choice in found["choices"]]
    for index in {choice["index"] for choice in choices}:
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in own[:-1] if choice["finish_reason"] is not None] == []
        assert own[-1]["finish_reason"]
