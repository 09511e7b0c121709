"""Call an edge as a customer does, from threads: complete responses, and streams read event by event."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from tests.servers.edge import WebProcess

WAIT_SECONDS = 30  # only limits a failing test
T = TypeVar("T")


class Response(NamedTuple):
    """A complete response: status, lower-case headers, decoded body."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The error code."""
        return str(self.body["error"]["code"])


def chat_body(model: str = "m-1", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """A small chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello, who are you?"}], "stream": stream, **fields}


def chat(edge: WebProcess, secret: str, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    """`POST /v1/chat/completions` on a new connection."""
    with Stream(edge, secret, headers, **{"stream": False, **fields}) as call:
        return call.json_response()


class Stream:
    """One call whose response is read incrementally. Leaving the block closes the connection, like a client disconnect."""

    def __init__(self, edge: WebProcess, secret: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=WAIT_SECONDS)
        sent = {"authorization": f"Bearer {secret}", "content-type": "application/json", **(headers or {})}
        body = json.dumps(chat_body(**{"stream": True, **fields}))
        self._connection.request("POST", "/v1/chat/completions", body, sent)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection immediately."""
        if self._connection.sock is not None:
            self._connection.sock.close()
        self._connection.close()

    def response_head(self) -> http.client.HTTPResponse:
        """Wait for the response head."""
        self.response = self._connection.getresponse()
        return self.response

    def json_response(self) -> Response:
        """The whole response, which must be JSON."""
        response = self.response_head()
        data = response.read()
        return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(data))

    def events(self) -> Iterator[dict[str, Any]]:
        """The `data:` of each event until the end of the stream; `{"done": True}` stands for `[DONE]`."""
        while line := self.response.readline():
            if line.startswith(b"data: "):
                yield {"done": True} if line.strip() == b"data: [DONE]" else json.loads(line[6:])

    def read_text(self, wanted: str) -> None:
        """Read until the deltas add up to `wanted`."""
        text = ""
        for event in self.events():
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            if text == wanted:
                return
        raise AssertionError(f"the stream ended after {text!r}")

    def remaining_events(self) -> list[dict[str, Any]]:
        """All remaining events, even if the connection is cut."""
        found = []
        with suppress(http.client.IncompleteRead, ConnectionError):
            for event in self.events():
                found.append(event)  # collect one by one, to keep what arrived before a break
        return found


def run_concurrently(calls: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0)`, `work(1)`, … concurrently."""
    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(work, range(calls)))
