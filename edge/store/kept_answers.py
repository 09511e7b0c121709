"""Recent calls by API key and body, so that a retry finds the call that it repeats.

Each process remembers its own calls. Redis has, for two minutes, those whose client disconnected, and those whose caller wants
the answer kept: it is encrypted with a key that is derived from the API key's secret, which no server stores.
"""

from __future__ import annotations

import hmac
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.store.limiter import SOCKET_SECONDS, Limiter
from shared.core.redis_url import parse_redis_url
from transport.redis_cluster import Call, ClusterScript, slot_of
from transport.redis_script import Argument, RedisFailed, RedisScript

SCRIPT = Path(__file__).with_name("kept_answers.lua").read_text()
RETRY_SECONDS = 120  # how long a call can be found after its end
LOST_END_SECONDS = 10  # how long for a complete response: SDKs retry within 8 s if its end was lost on the way
REFUSED_SECONDS = 75  # how long a sent error explains a retry: longer than any `retry-after`
MAX_RECENT_CALLS = 10_000  # in this process
NONCE_BYTES = 12

RUNNING, ENDED, KEPT = b"r", b"e", b"k"  # kinds of entries


class CallName(NamedTuple):
    """An account, and a digest of path and body, keyed with the API key's secret: equal for a call and its retries."""

    account: UUID
    digest: bytes


class Entry(NamedTuple):
    """A call's entry in Redis. `gone`: its client disconnected before the response was complete. `sealed`: the kept answer."""

    kind: bytes
    gone: bool
    call_id: UUID
    sealed: bytes = b""

    def encode(self) -> bytes:
        return b"%b%d%b%b" % (self.kind, self.gone, self.call_id.bytes, self.sealed)

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        return cls(data[:1], data[1:2] == b"1", UUID(bytes=data[2:18]), data[18:])


class RecentCall:
    """A call of this process. `ended_at` is in seconds of `time.monotonic`; None while it runs."""

    __slots__ = ("call_id", "ended_at", "gone")

    def __init__(self, call_id: UUID) -> None:
        self.call_id = call_id
        self.ended_at: float | None = None
        self.gone = False


def call_name(account: UUID, secret: bytes, surface: str, body: bytes) -> CallName:
    """Return the name of a call to the path `surface`."""
    return CallName(account, hmac.digest(secret + surface.encode(), body, "sha256"))


def seal_answer(secret: bytes, call_id: UUID, answer: bytes) -> bytes:
    """Encrypt and authenticate an answer. Only the secret of the API key that made the call opens it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(secret, call_id).encrypt(nonce, answer, None)


def open_answer(secret: bytes, call_id: UUID, sealed: bytes) -> bytes | None:
    """Decrypt what `seal_answer` returned; None if it is damaged."""
    try:
        return _cipher(secret, call_id).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        return None


def _cipher(secret: bytes, call_id: UUID) -> AESGCM:
    key = HKDF(algorithm=SHA256(), length=32, salt=call_id.bytes, info=b"yout/kept-answer").derive(secret)
    return AESGCM(key)


class KeptAnswers:
    """The recent calls. Redis is optional: without it, only the calls of this process are found. No method raises."""

    def __init__(self, url: str, limiter: Limiter) -> None:
        address = parse_redis_url(url)
        self._script = RedisScript(address, SCRIPT, SOCKET_SECONDS)
        self._cluster = ClusterScript(address, SCRIPT, SOCKET_SECONDS) if address.is_cluster else None  # instead of `_script`
        self._limiter = limiter  # whether Redis is available
        self._recent: OrderedDict[bytes, RecentCall] = OrderedDict()

    def begin(self, name: CallName, call_id: UUID) -> RecentCall:
        """Register a call of this process. Set `ended_at` at its end."""
        recent = self._recent
        call = recent[name.digest] = RecentCall(call_id)
        recent.move_to_end(name.digest)
        if len(recent) > MAX_RECENT_CALLS:
            recent.popitem(last=False)
        return call

    def recent(self, name: CallName) -> RecentCall | None:
        """Return the latest call with this name in this process, if it runs or ended so recently that it may be retried."""
        call = self._recent.get(name.digest)
        if call is not None and call.ended_at is not None:
            limit = RETRY_SECONDS if call.gone else LOST_END_SECONDS
            if time.monotonic() - call.ended_at > limit:
                return None
        return call

    async def put(self, name: CallName, entry: Entry, seconds: int = RETRY_SECONDS) -> bool:
        """Store the entry for `seconds`, and return whether Redis has it."""
        return await self._run(name, "put", entry.encode(), seconds * 1000) is not None

    async def drop(self, name: CallName) -> None:
        """Delete the entry of a call that failed: a retry is a new call."""
        await self._run(name, "drop")

    async def get(self, name: CallName) -> Entry | None:
        """Return the call's entry."""
        found = await self._run(name, "get")
        return None if found is None else Entry.decode(found)

    async def count_refusal(self, name: CallName) -> None:
        """Record that an error was sent for which the client's library retries, so that its retry is a new call."""
        await self._run(name, "refused", REFUSED_SECONDS * 1000)

    async def find(self, name: CallName) -> tuple[Entry | None, bool]:
        """Return the entry, and whether an error that was sent to the client explains the retry."""
        entry, explained = await self._run(name, "find") or (None, 0)
        return None if entry is None else Entry.decode(entry), bool(explained)

    def close(self) -> None:
        """Close the connection."""
        self._script.close()
        if self._cluster is not None:
            self._cluster.close()

    async def _run(self, name: CallName, *arguments: Argument) -> Any:
        """Run the script, and return its reply; None if Redis is unavailable. The keys have the account's hash tag."""
        if self._limiter.degraded:
            return None
        tag = name.account.hex
        key = f"yout:retry:{{{tag}}}:{name.digest.hex()}"
        keys = (key, f"{key}:refused")
        try:
            if self._cluster is None:
                return await self._script.run(keys, arguments)
            [reply] = await self._cluster.run_each([Call(slot_of(tag), keys, arguments)])
        except RedisFailed:
            return None
        return None if isinstance(reply, RedisFailed) else reply
