"""Keepalives while a provider is silent, before and inside its stream, do not disturb the official SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.edge.shared_edge import DEFAULT_COST, Sandbox, Stack
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.upstream_responses import Gate, delayed, stream

COMMENT, PING = b": keepalive\n", b"event: ping\n"


class KeepaliveWatcher(httpx2.HTTPTransport):
    """Watches the bytes that an SDK receives, and opens the next gate each time another keepalive (`filler`) arrives."""

    def __init__(self, filler: bytes, gates: list[Gate]) -> None:
        super().__init__()
        self.received = b""
        self._filler, self._gates = filler, gates

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        response.stream = Tapped(response.stream, self._watch)
        return response

    def _watch(self, data: bytes) -> None:
        self.received += data
        for gate in self._gates[: self.received.count(self._filler)]:
            if not gate.is_open:
                gate.open()


class Tapped(httpx2.SyncByteStream):
    def __init__(self, inner: Any, watch: Callable[[bytes], None]) -> None:
        self._inner, self._watch = inner, watch

    def __iter__(self) -> Iterator[bytes]:
        for data in self._inner:
            self._watch(data)
            yield data

    def close(self) -> None:
        self._inner.close()


def chat(sandbox: Sandbox, http: httpx2.Client) -> str:
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0, http_client=http) as client:
        stream_reader = client.chat.completions.create(
            model=sandbox.model, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        return "".join(event.choices[0].delta.content or "" for event in stream_reader if event.choices)


def response(sandbox: Sandbox, http: httpx2.Client) -> str:
    with (
        OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0, http_client=http) as client,
        client.responses.stream(model=sandbox.model, input="Hi") as stream_reader,
    ):
        kinds = [event.type for event in stream_reader]
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        return stream_reader.get_final_response().output_text


def message(sandbox: Sandbox, http: httpx2.Client) -> str:
    with (
        Anthropic(base_url=sandbox.edge.url, api_key=sandbox.secret, max_retries=0, http_client=http) as client,
        client.messages.stream(model=sandbox.model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream_reader,
    ):
        return stream_reader.get_final_text()


@pytest.mark.parametrize(("call", "filler"), [(chat, COMMENT), (response, COMMENT), (message, PING)])
def test_sdks_ignore_keepalives(stack: Stack, sandbox: Sandbox, call: Any, filler: bytes) -> None:
    sandbox.edge = stack.edge(keepalive_first_seconds=1, keepalive_seconds=1)
    gates = [Gate() for _ in range(3)]
    answer = stream(role(), chunk("Hel"), gates[1], gates[2], chunk("lo."), finish(), usage(7, 3), DONE)
    sandbox.provider.script(delayed(gates[0], answer))
    watcher = KeepaliveWatcher(filler, gates)
    with httpx2.Client(transport=watcher) as http:
        assert call(sandbox, http) == "Hello."
    assert watcher.received.count(filler) >= len(gates)
    assert watcher.received.index(filler) < watcher.received.index(b"Hel"), (
        "the first keepalive must precede the provider's response"
    )
    assert sandbox.charged == DEFAULT_COST
