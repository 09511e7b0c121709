"""Content leaves no trace after a call: not in the database, Redis, the edge's output or its data folder."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest
import redis

from shared.models import UsageLedger
from tests import factories, openai_payloads
from tests.edge.shared_edge import OpenStream, Reply, read
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import HANG, ScriptedResponse, error_response, json_response, stream

CANARY = "xqzcanary"
SAID = f"{CANARY}-said"
StartWeb = Callable[..., WebProcess]


def asked(model: object, **fields: Any) -> openai_payloads.Json:
    """A body with the canary in every field that may contain content."""
    arguments = json.dumps({"q": SAID})
    call = {"id": f"call_{CANARY}", "type": "function", "function": {"name": f"f_{CANARY}", "arguments": arguments}}
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": SAID},
            {"role": "user", "name": CANARY, "content": [{"type": "text", "text": SAID}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{CANARY}", "content": SAID},
        ],
        "tools": [{"type": "function", "function": {"name": f"f_{CANARY}", "parameters": {"type": "object"}}}],
        "user": f"{CANARY}@example.com",
        "safety_identifier": SAID,
        "metadata": {"user_id": SAID, "note": SAID},
        "prompt_cache_key": SAID,
        "stop": [SAID],
        "chat_template_kwargs": {CANARY: SAID},
        **fields,
    }


TOLD = {"error": {"message": f"You said {SAID}.", "type": CANARY, "param": f"messages {CANARY}", "code": f"{CANARY} {SAID}"}}
ANSWERS: list[tuple[str, ScriptedResponse, openai_payloads.Json]] = [
    ("completed", json_response(completion(SAID, usage=tokens(7, 3))), {}),
    ("completed", json_response({**completion(SAID), "system_fingerprint": CANARY}), {}),  # counted locally
    ("completed", stream(role(), chunk(SAID), finish(), usage(7, 3), DONE), {"stream": True}),
    ("completed", stream(role(), chunk(SAID), finish(), DONE), {"stream": True}),
    ("failed", json_response(completion(SAID)), {CANARY: SAID}),  # refused: its cost is not known
    ("failed", error_response(400, TOLD), {}),
    ("failed", error_response(400, {"error": SAID}), {"stream": True}),
    ("failed", error_response(401, TOLD), {}),
    ("failed", json_response(f"<html>{SAID}".encode()), {}),
    ("failed", stream(role(), chunk(SAID), TOLD), {"stream": True}),
    ("failed", stream(role(), chunk(SAID), f"garbage {SAID}\n\n".encode()), {"stream": True}),
    ("failed", stream(role(), chunk(SAID), f'data: {{"choices": "{SAID}"}}\n\n'.encode()), {"stream": True}),
]
REFUSED: list[bytes] = [
    json.dumps(asked(CANARY)).encode(),
    json.dumps(asked("m-0", temperature=SAID)).encode(),
    json.dumps(asked("m-0", messages=[{"role": SAID, "content": SAID}])).encode(),
    json.dumps({CANARY: SAID})[:-2].encode(),
]


def test_content_leaves_no_trace(
    bound_database: peewee.Database,
    any_database_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: StartWeb,
    tmp_path: Path,
) -> None:
    _, secret = factories.api_key(factories.account())
    for number in range(len(ANSWERS) + 1):  # one model each, so that no breaker opened by one affects another
        factories.model(f"m-{number}", factories.channel(upstream.url))
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, log_level="debug")
    headers = {"idempotency-key": f"{CANARY}-key", "x-canary": CANARY, "user-agent": CANARY, "cookie": f"a={CANARY}"}
    seen = False
    for number, (_, answer, fields) in enumerate(ANSWERS):
        upstream.default = answer
        data = json.dumps(asked(f"m-{number}", **fields)).encode()
        got = post(edge, secret, data, {**headers, "idempotency-key": f"{CANARY}-{number}"})
        seen = seen or SAID.encode() in got.body
    assert seen, "the canary must have passed through"
    for data in REFUSED:
        assert post(edge, secret, data, headers).status in (400, 404)
    assert post(edge, f"{secret}{CANARY}", REFUSED[0], headers).status == 401
    disconnect_mid_stream(edge, secret, upstream, f"m-{len(ANSWERS)}")
    eventually(lambda: UsageLedger.select().count() == len(ANSWERS) + 1, "all calls are settled")
    settled = [row.status for row in UsageLedger.select().order_by(UsageLedger.id)]
    assert settled == [*(expected for expected, _, _ in ANSWERS), "cancelled"]

    assert edge.terminate() == 0
    assert CANARY not in database_dump(bound_database)
    assert CANARY not in redis_dump(redis_url)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()] == []
    assert secret not in database_dump(bound_database) + redis_dump(redis_url) + edge.process.log.read_text()
    assert '"status":"completed"' in edge.process.log.read_text(), "the log must have one line per call"


def post(edge: WebProcess, secret: str, data: bytes, headers: dict[str, str]) -> Reply:
    """Make one call; any outcome is fine."""
    with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=30)) as connection:
        connection.request("POST", "/v1/chat/completions", data, {"authorization": f"Bearer {secret}", **headers})
        return read(connection.getresponse())


def disconnect_mid_stream(edge: WebProcess, secret: str, upstream: Upstream, model: str) -> None:
    upstream.default = stream(role(), chunk(SAID), HANG)
    running = OpenStream(edge.port, secret, json.dumps(asked(model, stream=True)).encode())
    running.read_until(SAID.encode())
    running.disconnect()
    assert upstream.calls[-1].wait_outcome() == "disconnected"


def database_dump(database: peewee.Database) -> str:
    """Every row of every table."""
    tables = database.get_tables()
    assert "usage_ledger" in tables
    assert "idempotency_claim" in tables
    return repr([database.execute_sql(f'SELECT * FROM "{table}"').fetchall() for table in tables])


def redis_dump(url: str) -> str:
    """Every key and value of every type."""
    readers: dict[str, str] = {"string": "get", "hash": "hgetall", "set": "smembers", "list": "lrange", "zset": "zrange"}
    found = []
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            arguments = (0, -1) if kind in ("list", "zset") else ()
            found.append((key, getattr(client, readers[kind])(key, *arguments)))
    assert found, "the limiter's buckets must be there"
    return repr(found)


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_the_dumps_would_find_a_canary(bound_database: peewee.Database, any_database_url: str, redis_url: str) -> None:
    factories.account(email=f"{CANARY}@example.com")
    with redis.Redis.from_url(redis_url) as client:
        client.zadd("leases", {CANARY: 1})
    assert CANARY in database_dump(bound_database)
    assert CANARY in redis_dump(redis_url)
