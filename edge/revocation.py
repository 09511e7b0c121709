"""Cut off running calls that may not go on: the key was revoked or has expired, the account is no longer active, or the call
has reached the longest life of a call. New calls need none of this: each is decided by its own reserve statement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from edge.auth import objection
from edge.running import RunningCall, RunningCalls
from shared.clock import now_ms
from shared.database import drop_connection
from shared.errors import InvalidKey, RequestRefused, UpstreamTimeout
from shared.models import Account, ApiKey

log = logging.getLogger("yout.edge")

POLL_SECONDS = 2.0
YOUNG_SECONDS = 2.0  # a younger call was decided a moment ago; most end before they are asked about
LARGEST_QUERY = 500  # keys

Read = Callable[[Callable[[], Any]], Awaitable[Any]]


async def watch(calls: RunningCalls, read: Read, longest_seconds: float) -> None:
    """Look after `calls` for ever. `read` runs a query in the reader's thread."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        _cut_overdue(calls, longest_seconds)
        try:
            await _cut_refused(calls, read)
        except Exception as error:  # whatever it was, the next poll tries again
            log.warning("the keys of running calls could not be read: %s", type(error).__name__)
            await read(drop_connection)


def _cut_overdue(calls: RunningCalls, longest_seconds: float) -> None:
    now = time.monotonic()
    for call in calls:
        if now - call.since > longest_seconds:
            call.cut(UpstreamTimeout(f"The call took longer than {longest_seconds:g} s, the longest that a call may take."))


async def _cut_refused(calls: RunningCalls, read: Read) -> None:
    by_key = _older_calls(calls)
    keys = sorted(by_key)
    for first in range(0, len(keys), LARGEST_QUERY):
        asked = keys[first : first + LARGEST_QUERY]
        refusals: dict[UUID, RequestRefused] = await read(partial(_refusals, asked))
        for key, refusal in refusals.items():
            for call in by_key[key]:
                call.cut(refusal)


def _older_calls(calls: RunningCalls) -> dict[UUID, list[RunningCall]]:
    born_before = time.monotonic() - YOUNG_SECONDS
    found: dict[UUID, list[RunningCall]] = {}
    for call in calls:
        if call.api_key is not None and call.since < born_before:
            found.setdefault(call.api_key, []).append(call)
    return found


def _refusals(keys: list[UUID]) -> dict[UUID, RequestRefused]:
    """Those of `keys` that are no good any more, and what their callers should be told."""
    columns = (ApiKey.id, ApiKey.revoked_at, ApiKey.expires_at, Account.status)
    query: Any = ApiKey.select(*columns).join(Account).where(ApiKey.id.in_(keys)).tuples()
    now = now_ms()
    found: dict[UUID, RequestRefused | None] = dict.fromkeys(keys, InvalidKey())  # also for a row that is gone
    for key, revoked_at, expires_at, status in query:
        found[key] = objection(revoked_at, expires_at, status, now)
    return {key: refusal for key, refusal in found.items() if refusal is not None}
