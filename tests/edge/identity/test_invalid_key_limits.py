"""Invalid keys from one network: counted together, cheap for the database, and without effect on valid keys from there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from edge.identity import invalid_key_limits
from edge.identity.invalid_key_limits import BatchedReads, RefusedKeys
from edge.store.limiter import Limiter
from shared.core.errors import DatabaseUnavailable, InvalidApiKey, TooManyInvalidKeys
from shared.identity.api_key_format import new_key
from tests import factories
from tests.edge.http_calls import Response, chat
from tests.servers.edge import WebProcess

NOBODY = "redis://127.0.0.1:1/0"  # no server listens there


def unknown() -> str:
    """A well-formed key that does not exist."""
    return new_key().secret


def from_network(edge: WebProcess, secret: str, address: str) -> Response:
    return chat(edge, secret, {"x-forwarded-for": address})


def test_a_network_that_sends_invalid_keys_gets_429(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Any, start_edge: Any
) -> None:
    """On every process. Other networks, and valid keys from this one, still work."""
    owner = factories.account(credits=1_000_000)
    _, secret = factories.api_key(owner)
    factories.model("m-1", factories.channel(upstream.url))
    settings = {"database_url": any_database_url, "redis_url": redis_url, "trusted_proxies": ("127.0.0.1",)}
    first, second = (start_edge(**settings, refused_keys_rpm=3) for _ in range(2))
    assert [from_network(first, unknown(), f"2001:db8::{number}").status for number in range(4)] == [401, 401, 401, 429]
    limited = from_network(second, unknown(), "[2001:db8::99]:51008")
    assert (limited.status, limited.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert "valid keys still work" in limited.body["error"]["message"]
    for edge in (first, second):  # the second process has never seen this key
        assert from_network(edge, secret, "2001:db8::7").status == 200
    assert from_network(first, unknown(), "2001:db8:0:1::1").status == 401
    assert from_network(first, unknown(), "203.0.113.7:51008").status == 401
    repeated = unknown()
    assert [from_network(first, repeated, "203.0.113.8").status for _ in range(4)] == [401, 401, 401, 429]
    assert from_network(first, "yout-malformed", "203.0.113.8").status == 429


@pytest.fixture
def refused(make_settings: Any) -> RefusedKeys:
    """The counter of a process whose Redis is down."""
    return RefusedKeys(make_settings(refused_keys_rpm=2, secret_key="s" * 40), Limiter(NOBODY, 60))


async def test_without_redis_each_process_counts_by_itself(refused: RefusedKeys) -> None:
    for _ in range(2):
        await refused.count("203.0.113.7")
    assert not refused.is_throttled("203.0.113.7")
    for _ in range(2):
        with pytest.raises(TooManyInvalidKeys):
            await refused.count("::ffff:203.0.113.7")
    assert refused.is_throttled("203.0.113.7:80")
    assert not refused.is_throttled("203.0.113.8")


def test_remembered_keys_are_limited(refused: RefusedKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalid_key_limits, "MAX_CACHED", 3)
    for digest in "abcd":
        refused.cache(digest)
    assert [refused.is_cached(digest) for digest in "abcd"] == [False, True, True, True]
    monkeypatch.setattr(invalid_key_limits, "now_ms", lambda: 10**15)
    assert not refused.is_cached("d")


class Database:
    """Counts reads, and blocks them until `open` is set."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.reading, self.open = asyncio.Event(), asyncio.Event()

    async def read(self, digests: Collection[str]) -> dict[str, str | InvalidApiKey]:
        self.reads.append(sorted(digests))
        self.reading.set()
        await self.open.wait()
        return {digest: f"row of {digest}" if digest.startswith("good") else InvalidApiKey() for digest in digests}


async def test_concurrent_key_reads_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalid_key_limits, "BATCH_SECONDS", 0)
    database = Database()
    gathered = BatchedReads(database.read)
    first = [asyncio.ensure_future(gathered.get(digest)) for digest in ("good-1", "bad", "good-1")]
    await database.reading.wait()
    later = [asyncio.ensure_future(gathered.get(digest)) for digest in ("good-2", "good-3")]
    first[0].cancel()  # another caller waits for the same key
    database.open.set()
    found = await asyncio.gather(*first, *later, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[1], InvalidApiKey)
    assert found[2:] == ["row of good-1", "row of good-2", "row of good-3"]
    assert database.reads == [["bad", "good-1"], ["good-2", "good-3"]]
    assert await gathered.get("good-4") == "row of good-4"


async def test_waiting_reads_are_limited_to_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalid_key_limits, "MAX_BATCH", 2)
    monkeypatch.setattr(invalid_key_limits, "BATCH_SECONDS", 0)
    database = Database()
    gathered = BatchedReads(database.read)
    waiting = [asyncio.ensure_future(gathered.get(f"good-{number}")) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyInvalidKeys):
        await gathered.get("good-2")
    database.open.set()
    assert await asyncio.gather(*waiting) == ["row of good-0", "row of good-1"]


async def test_a_database_outage_is_reported_to_all_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalid_key_limits, "BATCH_SECONDS", 0)

    async def read(_: Collection[str]) -> dict[str, str]:
        raise DatabaseUnavailable

    gathered = BatchedReads(read)
    found = await asyncio.gather(gathered.get("a"), gathered.get("b"), return_exceptions=True)
    assert [type(error) for error in found] == [DatabaseUnavailable] * 2
