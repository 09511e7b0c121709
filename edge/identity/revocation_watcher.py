"""Cuts off running calls whose key or session was revoked or expired, whose account is not active, or that exceed the maximum
duration. New calls are checked by their own reserve statement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from edge.identity.keys import key_error
from edge.store.inflight import InflightCall, InflightCalls
from shared.core.clock import now_ms
from shared.core.errors import InvalidApiKey, InvalidSession, RequestRefused, UpstreamTimeout
from shared.models import Account, ApiKey, WebSession

log = logging.getLogger("yout.edge")

POLL_SECONDS = 2.0
MIN_AGE_SECONDS = 2.0  # younger calls were checked just now, and most end soon
MAX_QUERY = 500  # keys or sessions per query

Read = Callable[[Callable[[], Any]], Awaitable[Any]]


async def watch(calls: InflightCalls, read: Read, max_call_seconds: float) -> None:
    """Poll `calls` forever. `read` runs a query in the reader thread; `max_call_seconds` is the maximum duration of a call."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        _abort_overdue(calls, max_call_seconds)
        try:
            await _abort_refused(calls, read)
        except Exception as error:  # the next poll retries
            log.warning("failed to check the keys of running calls: %s", type(error).__name__)


def _abort_overdue(calls: InflightCalls, max_call_seconds: float) -> None:
    now = time.monotonic()
    for call in calls:
        if now - call.since > max_call_seconds:
            call.abort(UpstreamTimeout(f"The call exceeded the maximum duration of {max_call_seconds:g} s."))


async def _abort_refused(calls: InflightCalls, read: Read) -> None:
    by_payer = _older_calls(calls)
    keys = sorted(payer for payer in by_payer if isinstance(payer, UUID))
    sessions = sorted(payer for payer in by_payer if isinstance(payer, str))
    for first in range(0, max(len(keys), len(sessions)), MAX_QUERY):
        batch = slice(first, first + MAX_QUERY)
        refusals: dict[UUID | str, RequestRefused] = await read(partial(_refusals, keys[batch], sessions[batch]))
        for payer, refusal in refusals.items():
            for call in by_payer[payer]:
                call.abort(refusal)


def _older_calls(calls: InflightCalls) -> dict[UUID | str, list[InflightCall]]:
    born_before = time.monotonic() - MIN_AGE_SECONDS
    found: dict[UUID | str, list[InflightCall]] = {}
    for call in calls:
        if call.payer is not None and call.since < born_before:
            found.setdefault(call.payer, []).append(call)
    return found


def _refusals(keys: list[UUID], sessions: list[str]) -> dict[UUID | str, RequestRefused]:
    """Return the errors for those of `keys` and `sessions` that are no longer valid."""
    found: dict[UUID | str, RequestRefused | None] = dict.fromkeys(keys, InvalidApiKey())  # the default, for deleted rows
    found |= dict.fromkeys(sessions, InvalidSession())
    now = now_ms()
    for payer, revoked_at, expires_at, status in (
        *_rows(ApiKey, ApiKey.id, keys),
        *_rows(WebSession, WebSession.digest, sessions),
    ):
        found[payer] = key_error(revoked_at, expires_at, status, now)
        if isinstance(payer, str) and isinstance(found[payer], InvalidApiKey):
            found[payer] = InvalidSession()
    return {payer: refusal for payer, refusal in found.items() if refusal is not None}


def _rows(model: Any, id: Any, ids: Sequence[UUID | str]) -> Any:
    """Return the columns that decide whether the keys or sessions are valid."""
    columns = (id, model.revoked_at, model.expires_at, Account.status)
    return model.select(*columns).join(Account).where(id.in_(ids)).tuples() if ids else ()
