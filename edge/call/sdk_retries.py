"""Retries of client libraries without an `Idempotency-Key`: a retry is never charged in addition to the call that it repeats.

The SDKs of OpenAI and Anthropic retry automatically after lost connections, timeouts and the statuses 408, 409, 429 and 5xx, and
number their attempts in `x-stainless-retry-count` (their `_base_client.py`). A retry of a call that is running or has been
charged is refused with 409. With `x-yout-safe-retries: true`, a call continues if its client disconnects, and its answer
is kept, encrypted, for two minutes: the retry waits for it and receives it.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from edge.call.responses import ResponseContext, Send, refuse
from edge.http.headers import ApiHeaders
from edge.identity.keys import sent_key
from edge.services import Services
from edge.store.kept_answers import ENDED, KEPT, RUNNING, CallName, Entry, RecentCall, call_name, open_answer, seal_answer
from shared.core.errors import IdempotencyConflict, InvalidRequest
from shared.models import Hold, UsageLedger

CONTINUE_SECONDS = 120  # how long a call continues after its client disconnected
WAIT_SECONDS = 120  # how long a retry waits for the call
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 1.0  # between two checks of a call
SETTLED_PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 3.0  # how long a retry waits for the hold of a call that began, or the charge of one that was cut off
MAX_KEPT_BYTES = 4_000_000  # larger answers are not kept
REPLAYED = (b"x-yout-replayed", b"true")
NO_RETRY = (b"x-should-retry", b"false")
RETRIED = frozenset({408, 409, 429, *range(500, 600)})  # statuses after which SDKs retry

Respond = Callable[[ResponseContext], Awaitable[None]]


def sdk_call(services: Services, headers: ApiHeaders, account: UUID, surface: str, body: bytes, call_id: UUID) -> SdkCall | None:
    """Return the state of a call whose client may retry it; None for a client that does not number its attempts.

    Raises `InvalidRequest` for an invalid `x-yout-safe-retries`.
    """
    choice, count = headers.safe_retries, headers.retry_count
    if choice not in (None, b"true", b"false"):
        raise InvalidRequest("'x-yout-safe-retries' must be 'true' or 'false'.", "x-yout-safe-retries")
    if choice == b"false" or (choice is None and count is None):
        return None
    secret = sent_key(headers.authorization, headers.x_api_key).encode("latin-1")
    is_retry = count is not None and count.isdigit() and int(count[:9]) > 0
    name = call_name(account, secret, surface, body)
    return SdkCall(services, name, secret, call_id, is_retry=is_retry, keeps=choice is not None)


class SdkCall:
    """One attempt of a client that may retry."""

    __slots__ = (
        *("_abort", "_body", "_body_bytes", "_call_id", "_client_send", "_entry", "_is_retry", "_keeps", "_lock", "_name"),
        *("_recent", "_secret", "_services", "_start"),
    )

    def __init__(self, services: Services, name: CallName, secret: bytes, call_id: UUID, *, is_retry: bool, keeps: bool) -> None:
        self._services = services
        self._name = name
        self._secret = secret
        self._call_id = call_id
        self._is_retry = is_retry
        self._keeps = keeps
        self._recent: RecentCall | None = None  # once the call began
        self._entry: Entry | None = None  # what Redis should have
        self._lock: asyncio.Lock | None = None  # while Redis has, or will have, an entry
        self._client_send: Send
        self._start: dict[str, Any] | None = None  # the first message of the response
        self._body: list[bytes] = []  # of the answer to keep
        self._body_bytes = 0
        self._abort: asyncio.TimerHandle | None = None  # runs once the client disconnected

    async def serve(self, context: ResponseContext, surface: str, respond: Respond) -> None:
        """Send the answer of the call that this one repeats, or make a new call with `respond`."""
        if self._is_retry:
            try:
                answer = await self._find()
            except Exception as error:  # the outermost handler: every error becomes an answer in our format
                await refuse(self._services, context, surface, error)
                return
            if answer is not None:
                await _replay(context.send, answer)
                return
        self._recent = self._services.kept_answers.begin(self._name, self._call_id)
        self._client_send = context.send
        if self._keeps:
            self._entry = Entry(RUNNING, False, self._call_id)
            self._services.spawn(self._store())
        try:
            context.send = self._send_kept if self._keeps else self._send
            await respond(context)
        finally:
            self._end(self._recent)

    def client_gone(self, abort: Callable[[], None]) -> bool:
        """Record that the client disconnected, and return whether the call continues, for at most `CONTINUE_SECONDS`."""
        recent = self._recent
        if recent is None:  # a retry that waits
            return False
        recent.gone = True
        if self._entry is None:
            self._entry = Entry(ENDED, True, self._call_id)
        else:
            self._entry = self._entry._replace(gone=True)
        self._services.spawn(self._store())
        if not self._keeps:
            return False
        self._abort = asyncio.get_running_loop().call_later(CONTINUE_SECONDS, abort)
        return True

    def _send(self, message: dict[str, Any]) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._start = message
            if self._will_be_retried:
                return self._send_refusal(message)
        return self._client_send(message)

    async def _send_refusal(self, message: dict[str, Any]) -> None:
        """Send the start of an error response for which the client's library retries, after recording it for the retry."""
        await self._services.kept_answers.count_refusal(self._name)
        await self._client_send(message)

    @property
    def _will_be_retried(self) -> bool:
        """Whether the response is an error after which the client's library sends a retry."""
        start = self._start
        return start is not None and start["status"] in RETRIED and NO_RETRY not in start["headers"]

    async def _send_kept(self, message: dict[str, Any]) -> None:
        """Send a message and keep it. The answer is stored before its last bytes are sent, so that a retry finds it."""
        if message["type"] == "http.response.start":
            self._start = message
            self._keeps = message["status"] == 200
            if self._will_be_retried and self._recent is not None and not self._recent.gone:
                await self._services.kept_answers.count_refusal(self._name)
        elif self._keeps:
            self._body.append(message["body"])
            self._body_bytes += len(message["body"])
            if self._body_bytes > MAX_KEPT_BYTES:
                self._keeps = False
                self._body.clear()
            elif not message.get("more_body", False):
                await self._keep()
        if self._recent is not None and not self._recent.gone:
            await self._client_send(message)

    async def _keep(self) -> None:
        assert self._start is not None  # noqa: S101  (the response has begun)
        assert self._recent is not None  # noqa: S101  (set before the response begins)
        answer = zlib.compress(_encode(self._start, self._body), 1)  # a stream shrinks to less than a tenth
        sealed = seal_answer(self._secret, self._call_id, answer)
        self._body.clear()
        self._entry = Entry(KEPT, self._recent.gone, self._call_id, sealed)
        await self._store()

    def _end(self, recent: RecentCall) -> None:
        """Record the end of the call."""
        recent.ended_at = time.monotonic()
        if self._abort is not None:
            self._abort.cancel()
        entry = self._entry
        if entry is not None and entry.kind == RUNNING:
            self._entry = None if self._will_be_retried else entry._replace(kind=ENDED)
            self._services.spawn(self._store())

    async def _store(self) -> None:
        """Store the current entry in Redis. The calls of this method run one after the other, so that the last one wins."""
        kept = self._services.kept_answers
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            entry = self._entry
            if entry is None:
                await kept.drop(self._name)
            elif entry.kind == RUNNING:
                await kept.put(self._name, entry, self._services.settings.call_seconds)
            else:
                await kept.put(self._name, entry)

    async def _find(self) -> bytes | None:
        """Return the kept answer of the call that this one repeats, after waiting for it; None if the call must be made again.

        Raises `IdempotencyConflict` if it is running or was charged.
        """
        kept = self._services.kept_answers
        entry, is_explained = await kept.find(self._name)
        recent = kept.recent(self._name)
        if entry is not None:
            if is_explained:
                return None
            call_id = entry.call_id
            entry = await self._wait(entry)
            if entry is not None and entry.kind == KEPT:
                answer = open_answer(self._secret, entry.call_id, entry.sealed)
                if answer is not None:
                    return zlib.decompress(answer)
        else:
            if recent is None or (is_explained and not recent.gone):
                return None
            call_id = recent.call_id
            if recent.ended_at is None and not recent.gone:
                raise IdempotencyConflict("retry_of_running", call_id)
        await self._refuse_charged(call_id)
        return None

    async def _wait(self, entry: Entry) -> Entry | None:
        """Wait for a running call whose answer will be kept, and return its last entry; None if it no longer has one.

        Raises `IdempotencyConflict` if it is still running after `WAIT_SECONDS`.
        """
        loop = asyncio.get_running_loop()
        began, pause = loop.time(), MIN_PAUSE_SECONDS
        found: Entry | None = entry
        while found is not None and found.kind == RUNNING:
            waited = loop.time() - began
            if waited > WAIT_SECONDS:
                raise IdempotencyConflict("retry_of_running", found.call_id)
            if waited > SETTLE_SECONDS and not (await self._read_state(found.call_id)).is_held:
                await asyncio.sleep(SETTLED_PAUSE_SECONDS)  # it has ended, and its answer is being stored; or its process died
                return await self._services.kept_answers.get(self._name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
            found = await self._services.kept_answers.get(self._name)
        return found

    async def _refuse_charged(self, call_id: UUID) -> None:
        """Raise `IdempotencyConflict` if the call was charged, or is not settled in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_SECONDS
        while (state := await self._read_state(call_id)).is_held:
            if loop.time() > deadline:
                raise IdempotencyConflict("retry_of_running", call_id)
            await asyncio.sleep(MIN_PAUSE_SECONDS)
        if state.credits:
            raise IdempotencyConflict("retry_of_charged", call_id, state.credits)

    async def _read_state(self, call_id: UUID) -> _CallState:
        return await self._services.database_reader.read(partial(_read_state, self._name.account, call_id))


class _CallState(NamedTuple):
    """What the database knows of a call: its charge in credits, None until it is settled, and whether it holds credits."""

    credits: int | None
    is_held: bool


def _read_state(account: UUID, call_id: UUID) -> _CallState:
    # The settlement closes the hold and writes the usage in one transaction, so the hold must be read first.
    is_held = (Hold.account == account) & (Hold.id == call_id) & (Hold.state == "held")
    if Hold.select().where(is_held).exists():
        return _CallState(None, is_held=True)
    found = UsageLedger.get_or_none((UsageLedger.account == account) & (UsageLedger.id == call_id))
    return _CallState(None if found is None else found.credits, is_held=False)


def _encode(start: dict[str, Any], body: list[bytes]) -> bytes:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return orjson.dumps(headers) + b"\n" + b"".join(body)


async def _replay(send: Send, answer: bytes) -> None:
    head, _, body = answer.partition(b"\n")
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(head)]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, REPLAYED]})
    await send({"type": "http.response.body", "body": body})
