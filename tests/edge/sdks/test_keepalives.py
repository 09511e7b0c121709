"""Silence while a vendor thinks, before its stream and inside it: it is filled, and the official SDKs read through that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.edge.shared_edge import POLITE_COST, Lane, Stack
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.upstream_responses import Gate, later, stream

COMMENT, PING = b": keepalive\n", b"event: ping\n"


class Line(httpx2.HTTPTransport):
    """The way of an SDK's bytes. Each time that one more `filler` has come, one more of the `gates` is opened."""

    def __init__(self, filler: bytes, gates: list[Gate]) -> None:
        super().__init__()
        self.received = b""
        self._filler, self._gates = filler, gates

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        response.stream = Tapped(response.stream, self._hear)
        return response

    def _hear(self, data: bytes) -> None:
        self.received += data
        for gate in self._gates[: self.received.count(self._filler)]:
            if not gate.is_open:
                gate.open()


class Tapped(httpx2.SyncByteStream):
    def __init__(self, inner: Any, hear: Callable[[bytes], None]) -> None:
        self._inner, self._hear = inner, hear

    def __iter__(self) -> Iterator[bytes]:
        for data in self._inner:
            self._hear(data)
            yield data

    def close(self) -> None:
        self._inner.close()


def chat(lane: Lane, http: httpx2.Client) -> str:
    with OpenAI(base_url=lane.api, api_key=lane.secret, max_retries=0, http_client=http) as client:
        told = client.chat.completions.create(model=lane.model, messages=[{"role": "user", "content": "Hi"}], stream=True)
        return "".join(event.choices[0].delta.content or "" for event in told if event.choices)


def response(lane: Lane, http: httpx2.Client) -> str:
    with (
        OpenAI(base_url=lane.api, api_key=lane.secret, max_retries=0, http_client=http) as client,
        client.responses.stream(model=lane.model, input="Hi") as told,
    ):
        kinds = [event.type for event in told]
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        return told.get_final_response().output_text


def message(lane: Lane, http: httpx2.Client) -> str:
    with (
        Anthropic(base_url=lane.edge.url, api_key=lane.secret, max_retries=0, http_client=http) as client,
        client.messages.stream(model=lane.model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as told,
    ):
        return told.get_final_text()


@pytest.mark.parametrize(("call", "filler"), [(chat, COMMENT), (response, COMMENT), (message, PING)])
def test_sdks_read_through_what_fills_a_silence(stack: Stack, lane: Lane, call: Any, filler: bytes) -> None:
    lane.edge = stack.edge(keepalive_first_seconds=1, keepalive_seconds=1)
    gates = [Gate() for _ in range(3)]
    answer = stream(role(), chunk("Hel"), gates[1], gates[2], chunk("lo."), finish(), usage(7, 3), DONE)
    lane.vendor.script(later(gates[0], answer))
    line = Line(filler, gates)
    with httpx2.Client(transport=line) as http:
        assert call(lane, http) == "Hello."
    assert line.received.count(filler) >= len(gates)
    assert line.received.index(filler) < line.received.index(b"Hel"), "the first came before the vendor had begun"
    assert lane.charged == POLITE_COST
