"""The native API stores content only on request, and a purge removes it: no row, log or unused file page contains it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee

from shared.models import Account, Message, Plan, Share, StoredResponse, Subscription
from tests import factories
from tests.edge.media.media_stack import SETTINGS, image_response
from tests.edge.shared_edge import Reply, read
from tests.edge.test_privacy import CANARY, SAID, TOLD, database_dump, redis_dump
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import WebProcess
from tests.servers.process import Process, eventually
from tests.upstream import Upstream
from tests.upstream_responses import stream

StartWeb = Callable[..., WebProcess]
StartWorker = Callable[..., Process]
WORDS = f"{CANARY} " * 2_000  # larger than a page of the SQLite file
MESSAGES = [{"role": "system", "content": SAID}, {"role": "user", "content": WORDS}]
ANSWER = stream(role(), chunk(f"{SAID} {WORDS}", reasoning=SAID), finish(), usage(7, 3), DONE)
# Requests with content that must leave no trace: unstored calls, and rejected bodies.
FORGOTTEN: list[tuple[str, str, Any, int]] = [
    ("POST", "/api/chat/stream/", {"model": "m-1", "prompt": SAID}, 200),
    ("POST", "/api/chat/stream/", {"model": "m-1", "messages": MESSAGES, "store": False}, 200),
    ("POST", "/api/chat/stream/", {"model": CANARY, "prompt": SAID}, 404),
    ("POST", "/api/chat/stream/", {"model": CANARY, "prompt": SAID, "store": True}, 404),
    ("POST", "/api/chat/stream/", {"model": "m-1", "prompt": SAID, "store": CANARY}, 400),
    ("POST", "/api/chat/stream/", {"model": "m-1", "prompt": SAID, "conversation_id": CANARY}, 404),
    ("POST", "/api/chat/stream/", {"model": "m-1", "messages": [{"role": CANARY, "content": SAID}], "store": True}, 400),
    ("POST", "/api/chat/stream/", {"model": "m-1", "prompt": SAID, "store": True, CANARY: 1}, 400),
    ("POST", "/api/chat/share/", {"conversation_id": CANARY}, 404),
    ("POST", "/api/chat/share/", {"title": f"{SAID}\x00", "messages": MESSAGES}, 400),
    ("POST", "/api/chat/share/", {"title": SAID, "messages": [{"role": "system", "content": SAID}]}, 400),
    ("POST", "/api/chat/share/", {"title": SAID, "messages": [{"role": CANARY, "content": SAID}]}, 400),
    ("POST", "/api/chat/share/", f'{{"title": "{CANARY}"'.encode(), 400),
    ("DELETE", f"/api/chat/share/{CANARY}/", None, 404),
    ("GET", f"/c/{CANARY}", None, 404),
    ("GET", f"/api/chat/conversations/{CANARY}/", None, 404),
    ("GET", f"/api/chat/conversations/?after={CANARY}", None, 400),
    ("GET", f"/api/chat/purge/{CANARY}/", None, 404),
    ("POST", "/v1/responses", {"model": "m-1", "input": SAID, "instructions": SAID, "stream": True}, 200),
    ("POST", "/v1/responses", {"model": "m-1", "input": SAID, "store": False, "stream": True}, 200),
    ("POST", "/v1/responses", {"model": CANARY, "input": SAID, "store": True}, 404),
    ("POST", "/v1/responses", {"model": "m-1", "input": SAID, "store": True, "previous_response_id": CANARY}, 400),
    ("GET", f"/v1/responses/{CANARY}", None, 404),
]


class Speaker:
    """A caller who sends the canary in every field that has room for it."""

    def __init__(self, edge: WebProcess, secret: str) -> None:
        self._edge, self._secret = edge, secret

    def request(self, method: str, path: str, body: Any = None) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self._secret}", "user-agent": CANARY, "x-canary": CANARY, "cookie": f"a={CANARY}"}
        with closing(http.client.HTTPConnection("127.0.0.1", self._edge.port, timeout=30)) as connection:
            connection.request(method, path, data, headers)
            return read(connection.getresponse())

    def store(self, **fields: Any) -> str:
        """Make a stored call; returns the conversation's id."""
        got = self.request("POST", "/api/chat/stream/", {"model": "m-1", "messages": MESSAGES, "store": True, **fields})
        return str(json.loads(got.lines[-1][6:])["conversation_id"])


def storing_account() -> tuple[Account, str]:
    owner = factories.account()
    Subscription.create(account=owner, plan=Plan.create(name="Keeps", stores_content=True))
    return owner, factories.api_key(owner)[1]


def files_with_canary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_unstored_content_leaves_no_trace_and_stored_content_can_be_purged(
    bound_database: peewee.Database,
    any_database_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: StartWeb,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    owner, secret = storing_account()
    factories.model("m-1", factories.channel(upstream.url))
    factories.model("m-2", factories.channel(upstream.url))
    factories.model("image-1", factories.channel(upstream.url), kind="image", per_call=10)
    settings = {"database_url": any_database_url, "redis_url": redis_url, "log_level": "debug", **SETTINGS}
    edge, worker = start_edge(**settings), start_worker(**settings)
    speaker = Speaker(edge, secret)
    upstream.default = ANSWER
    for method, path, body, expected in FORGOTTEN:
        got = speaker.request(method, path, body)
        assert got.status == expected, (path, body, got.body)
    upstream.default = stream(role(), TOLD)
    assert speaker.request("POST", "/api/chat/stream/", {"model": "m-2", "prompt": SAID, "store": True}).status == 502
    assert CANARY not in database_dump(bound_database)
    assert files_with_canary(tmp_path) == []

    upstream.default = ANSWER
    conversation = speaker.store()
    speaker.store(conversation_id=conversation)
    gone = speaker.store()
    assert speaker.request("DELETE", f"/api/chat/conversations/{gone}/").status == 200
    shared = speaker.request("POST", "/api/chat/share/", {"conversation_id": conversation, "title": SAID}).json
    revoked = speaker.request("POST", "/api/chat/share/", {"title": SAID, "messages": MESSAGES}).json
    assert speaker.request("DELETE", f"/api/chat/share/{revoked['slug']}/").status == 200
    assert CANARY.encode() in speaker.request("GET", f"/c/{shared['slug']}").body
    for _ in range(2):
        kept = speaker.request("POST", "/v1/responses", {"model": "m-1", "input": WORDS, "stream": True, "store": True}).chunks[
            -1
        ]
    assert speaker.request("DELETE", f"/v1/responses/{kept['response']['id']}").status == 200
    upstream.default = image_response(CANARY.encode() * 100)
    ordered = speaker.request("POST", "/api/media/image/", {"model": "image-1", "prompt": SAID})
    assert ordered.status == 202, ordered.body
    assert (Message.select().count(), Share.select().count(), StoredResponse.select().count()) == (6, 1, 1)
    assert CANARY in database_dump(bound_database)

    purge = speaker.request("POST", "/api/chat/purge/").json
    path = f"/api/chat/purge/{purge['id']}/"
    eventually(lambda: speaker.request("GET", path).json["status"] == "done", "the purge is done", 40)
    certificate = speaker.request("GET", path)
    assert CANARY.encode() not in certificate.body
    assert (certificate.json["removed"]["messages"], certificate.json["removed"]["responses"]) == (6, 1)
    assert Account.get_by_id(owner.id).balance == certificate.json["certificate"]["certificate"]["remains"]["balance"]
    assert (edge.terminate(), worker.terminate()) == (0, 0)
    assert CANARY not in database_dump(bound_database)
    assert CANARY not in redis_dump(redis_url)
    bound_database.close()  # after the last connection closes, SQLite merges its write-ahead log into the file
    assert files_with_canary(tmp_path) == [], "not in the file, its write-ahead log or the output"


def test_the_search_would_find_a_canary(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"it was {SAID}")
    assert files_with_canary(tmp_path) == ["a.log"]
