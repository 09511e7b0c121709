"""Cuts the connections of the official SDKs at random bytes. Each call must be charged once, and its text must arrive.

    python -m bench.sdk_retries --cuts 1000 --seed 1

Two edges, PostgreSQL and Valkey run on this machine. The Python SDKs of OpenAI and Anthropic call them through a proxy that sends
each connection to a random edge and cuts it after a random number of bytes of the request or the response. The SDKs retry by
themselves; where they do not, because a stream had begun, the caller repeats the call with the next `x-stainless-retry-count`.
All of them send `x-yout-safe-retries: true`. In the end, each call has one charge and one request at the provider, no key or
value of Redis contains a prompt or an answer, and the ledger verifies. The exit code is 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import anthropic
import httpx2
import openai
import redis
from anthropic import Anthropic
from openai import OpenAI

from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.ledger.verify import verify_ledger
from shared.models import Account, UsageLedger
from tests import factories
from tests.databases import opened
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.edge import environment_of, start_edge
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Request, Upstream
from tests.upstream_responses import Pause, ScriptedResponse, delayed, json_response, stream

EDGES, THREADS, CALLERS_RETRIES, SDK_RETRIES = 2, 16, 50, 2
STOP_SECONDS = 30
CUT_SHARE = 0.75  # of the connections
MAX_RESPONSE_BYTES = 6_000  # about the size of the longest response
CANARY = "zeppelin"  # part of each prompt and answer
CREDITS = 100_000_000
PRICES = {"input": 1_000, "output": 2_000, "minimum": 10}
LOST = (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.TransportError)


def answer_text(number: int) -> str:
    """Return the answer to the prompt with this number."""
    return " ".join(f"{CANARY}-{number}-{word}" for word in range(3 + number % 20))


def answer(request: Request) -> ScriptedResponse:
    """Answer a prompt with its text, sometimes slowly."""
    body = json.loads(request.body)
    found = re.search(rf"{CANARY} (\d+)", request.body.decode())
    assert found is not None, "not a prompt of this benchmark"
    number = int(found[1])
    words, pause = answer_text(number).split(" "), Pause((number % 4) * 0.15)
    if not body.get("stream"):
        return delayed(pause, json_response(completion(" ".join(words), usage=tokens(7, 3))))
    first, *rest = words
    return stream(role(), chunk(first), pause, *(chunk(f" {word}") for word in rest), finish(), usage(7, 3), DONE)


class Proxy:
    """Forwards connections to a random port of `ports`, and cuts most of them, until `cuts` connections have been cut."""

    def __init__(self, ports: Sequence[int], cuts: int, seed: int) -> None:
        self._ports, self._random = ports, random.Random(seed)
        self.left, self.cuts = cuts, Counter[str]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(STOP_SECONDS)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._forward, "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        edge_reader, edge_writer = await asyncio.open_connection("127.0.0.1", self._random.choice(self._ports))
        limits: dict[str, int | None] = {"request": None, "response": None}
        if self._random.random() < CUT_SHARE:
            where = self._random.choices(list(limits), [1, 5])[0]
            limits[where] = self._random.randrange(700 if where == "request" else MAX_RESPONSE_BYTES)
        copies = [
            asyncio.create_task(self._copy(reader, edge_writer, "request", limits["request"])),
            asyncio.create_task(self._copy(edge_reader, writer, "response", limits["response"])),
        ]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            for end in (writer, edge_writer):
                end.transport.abort() if self._random.random() < 0.5 else end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str, limit: int | None) -> None:
        """Copy until the end, or until `limit` bytes have been copied."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if limit is not None and len(data) > limit and self.left > 0:
                    self.left -= 1
                    self.cuts[where] += 1
                    writer.write(data[:limit])
                    await writer.drain()
                    return
                if limit is not None:
                    limit -= min(limit, len(data))
                writer.write(data)
                await writer.drain()


class Setup(NamedTuple):
    """Where to call, and what to check afterwards. `account` must have no calls yet."""

    ports: Sequence[int]
    secret: str
    account: UUID
    model: str
    redis_url: str
    provider_calls: Callable[[], Sequence[Request]]


class Report(NamedTuple):
    """How many calls and cuts there were, and what is wrong."""

    calls: int
    cuts: Counter[str]
    replayed: int
    problems: list[str]


class Caller:
    """Makes calls with both SDKs. `replayed` counts the responses that were kept."""

    def __init__(self, setup: Setup, port: int) -> None:
        self._model = setup.model
        self.replayed = 0
        headers = {"x-yout-safe-retries": "true"}
        limits = httpx2.Limits(max_keepalive_connections=0)  # a connection for each attempt
        self.http = httpx2.Client(limits=limits, timeout=60, event_hooks={"response": [self._count_replayed]})
        options: Any = {
            "api_key": setup.secret,
            "max_retries": SDK_RETRIES,
            "default_headers": headers,
            "http_client": self.http,
        }
        self._openai = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", **options)
        self._anthropic = Anthropic(base_url=f"http://127.0.0.1:{port}", **options)

    def _count_replayed(self, response: httpx2.Response) -> None:
        self.replayed += "x-yout-replayed" in response.headers

    def call(self, number: int) -> str:
        """Make the call with this number, again and again until its answer is complete, and return its text."""
        kind = (self._chat, self._chat_stream, self._response, self._response_stream, self._message, self._message_stream)[
            number % 6
        ]
        for repetition in range(CALLERS_RETRIES):
            headers = {"x-yout-tag": f"call-{number}"}
            if repetition:  # the SDK's own retries are counted in it, too
                headers["x-stainless-retry-count"] = str(repetition)
            with suppress(*LOST):
                return kind(f"What is {CANARY} {number}?", headers)
        raise AssertionError("no connection lasted")

    def _chat(self, prompt: str, headers: dict[str, str]) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        made = self._openai.chat.completions.create(model=self._model, messages=messages, extra_headers=headers)
        return made.choices[0].message.content or ""

    def _chat_stream(self, prompt: str, headers: dict[str, str]) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        opened = self._openai.chat.completions.create(model=self._model, messages=messages, stream=True, extra_headers=headers)
        with opened:
            return "".join(choice.delta.content or "" for chunk in opened for choice in chunk.choices)

    def _response(self, prompt: str, headers: dict[str, str]) -> str:
        return self._openai.responses.create(model=self._model, input=prompt, extra_headers=headers).output_text

    def _response_stream(self, prompt: str, headers: dict[str, str]) -> str:
        with self._openai.responses.create(model=self._model, input=prompt, stream=True, extra_headers=headers) as opened:
            return "".join(event.delta for event in opened if event.type == "response.output_text.delta")

    def _message(self, prompt: str, headers: dict[str, str]) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        made = self._anthropic.messages.create(model=self._model, max_tokens=500, messages=messages, extra_headers=headers)
        return "".join(block.text for block in made.content if block.type == "text")

    def _message_stream(self, prompt: str, headers: dict[str, str]) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        opened = self._anthropic.messages.create(
            model=self._model, max_tokens=500, messages=messages, stream=True, extra_headers=headers
        )
        with opened:
            text = [e.delta.text for e in opened if e.type == "content_block_delta" and e.delta.type == "text_delta"]
        return "".join(text)


def cut_connections(setup: Setup, cuts: int, seed: int, threads: int = THREADS) -> Report:
    """Make calls until `cuts` connections have been cut, and return what is wrong. Models must be bound to the database."""
    proxy = Proxy(setup.ports, cuts, seed)
    problems: list[str] = []
    numbers = iter(range(1_000_000))
    lock = threading.Lock()
    made: list[int] = []
    callers = [Caller(setup, proxy.port) for _ in range(threads)]

    def work(caller: Caller) -> None:
        while proxy.left > 0:
            with lock:
                number = next(numbers)
                made.append(number)
            try:
                text = caller.call(number)
            except (openai.OpenAIError, anthropic.AnthropicError, AssertionError) as error:
                problems.append(f"call {number}: {type(error).__name__}: {error}")
                continue
            if text != answer_text(number):
                problems.append(f"call {number}: its text is {text!r}")

    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, callers))
    finally:
        for caller in callers:
            caller.http.close()
        proxy.close()
    problems += check(setup, made)
    return Report(len(made), proxy.cuts, sum(caller.replayed for caller in callers), problems)


def check(setup: Setup, made: Sequence[int]) -> Iterator[str]:
    """Yield what is wrong with charges, the provider's requests, Redis and the ledger."""
    eventually(lambda: not Account.get_by_id(setup.account).held, "all calls are settled")
    rows = list(UsageLedger.select().where(UsageLedger.account == setup.account))
    charged = Counter(row.tag for row in rows if row.credits)
    sent = Counter(re.findall(rf"{CANARY} (\d+)", "\n".join(call.body.decode() for call in setup.provider_calls())))
    for number in made:
        if charged[f"call-{number}"] != 1:
            yield f"call {number}: charged {charged[f'call-{number}']} times"
        if sent[str(number)] != 1:
            yield f"call {number}: sent to the provider {sent[str(number)]} times"
    if sum(charged.values()) != len(made):
        yield f"{sum(charged.values())} charges for {len(made)} calls"
    found = readable(setup.redis_url)
    if found:
        yield f"{found} keys of Redis contain a prompt or an answer"
    yield from map(str, verify_ledger(now_ms()).problems)


def readable(redis_url: str) -> int:
    """Return the number of keys in Redis whose name or value contains the canary, also compressed. There must be kept answers."""
    with redis.Redis.from_url(redis_url) as connection:
        keys = list(connection.scan_iter())
        assert any(key.startswith(b"yout:retry:") for key in keys), "Redis has no kept answers"
        return sum(CANARY.encode() in key + (connection.dump(key) or b"") + _inflated_entry(connection, key) for key in keys)


def _inflated_entry(connection: Any, key: bytes) -> bytes:
    """Return the uncompressed answer of an entry that is not encrypted; nothing for other values."""
    if not key.startswith(b"yout:retry:"):
        return b""
    value = connection.get(key) or b""
    for start in range(min(len(value), 64)):  # wherever the answer begins
        with suppress(zlib.error):
            return value + zlib.decompress(value[start:])
    return bytes(value)


@contextmanager
def running_setup() -> Iterator[Setup]:
    """Start two edges with their servers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yout-retries-")))
        postgres = Postgres()
        stack.callback(postgres.stop)
        server = RedisServer("valkey", folder)
        stack.callback(server.kill)
        upstream = Upstream()
        stack.callback(upstream.close)
        upstream.default = answer
        url = postgres.create_migrated()
        bind_database(stack.enter_context(opened(url)))
        owner = factories.account(credits=CREDITS)
        _, secret = factories.api_key(owner, rpm=100_000, tpm=1_000_000_000, concurrency=1_000)
        factories.model("m-1", factories.channel(upstream.url), **PRICES)
        ports = []
        for _ in range(EDGES):
            edge = start_edge(folder, environment_of({"database_url": url, "redis_url": server.url, "default_rpm": 100_000}))
            stack.callback(edge.kill)
            ports.append(edge.port)
        yield Setup(ports, secret, owner.id, "m-1", server.url, lambda: upstream.calls)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sdk_retries", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=100, help="connections to cut (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choices (default 1)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with running_setup() as setup:
        report = cut_connections(setup, options.cuts, options.seed)
    where = ", ".join(f"{number} in the {name}" for name, number in sorted(report.cuts.items()))
    print(f"{report.calls} calls, {report.cuts.total()} connections cut ({where}), {report.replayed} answers replayed,", end=" ")
    print(f"{len(report.problems)} problems, {time.monotonic() - began:.0f} s", *report.problems, sep="\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
