"""Cuts off running calls whose key or session was revoked or expired, whose account is not active, or that exceed the maximum
duration. New calls are checked by their own reserve statement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import peewee

from edge.identity.keys import key_error
from edge.store.inflight import InflightCall, InflightCalls
from shared.core.clock import now_ms
from shared.core.database import drop_connection
from shared.core.database_errors import is_temporary
from shared.core.errors import DatabaseUnavailable, InvalidApiKey, InvalidSession, RequestRefused, UpstreamTimeout
from shared.core.shards import group_by_shard, is_distributed
from shared.identity.payer import Payer, SessionPayer, VisitorPayer
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
        except DatabaseUnavailable:  # the next poll retries; the reader has reported the outage
            continue
        except Exception as error:  # the next poll retries
            log.warning("failed to check the keys of running calls: %s", type(error).__name__)


def _abort_overdue(calls: InflightCalls, max_call_seconds: float) -> None:
    now = time.monotonic()
    for call in calls:
        if now - call.since > max_call_seconds:
            call.abort(UpstreamTimeout(f"The call exceeded the maximum duration of {max_call_seconds:g} s."))


async def _abort_refused(calls: InflightCalls, read: Read) -> None:
    by_payer = _older_calls(calls)
    payers = list(by_payer)
    for first in range(0, len(payers), MAX_QUERY):
        refusals: dict[Payer, RequestRefused] = await read(partial(_refusals, payers[first : first + MAX_QUERY]))
        for payer, refusal in refusals.items():
            for call in by_payer[payer]:
                call.abort(refusal)


def _older_calls(calls: InflightCalls) -> dict[Payer, list[InflightCall]]:
    """Return the older calls of keys and sessions. Visitors have nothing that can be revoked."""
    born_before = time.monotonic() - MIN_AGE_SECONDS
    found: dict[Payer, list[InflightCall]] = {}
    for call in calls:
        if call.payer is not None and not isinstance(call.payer, VisitorPayer) and call.since < born_before:
            found.setdefault(call.payer, []).append(call)
    return found


def _refusals(payers: Sequence[Payer]) -> dict[Payer, RequestRefused]:
    """Return the errors for those of `payers` whose key or session is no longer valid."""
    digests = [payer.digest for payer in payers]
    rows = {**_rows(ApiKey, digests), **_rows(WebSession, digests)}
    found: dict[Payer, RequestRefused] = {}
    now = now_ms()
    for payer in payers:
        row = rows.get(payer.digest)
        refusal = key_error(*row, now) if row is not None else InvalidApiKey()  # None: the row was deleted
        if isinstance(refusal, InvalidApiKey) and isinstance(payer, SessionPayer):
            refusal = InvalidSession()
        if refusal is not None:
            found[payer] = refusal
    return found


def _rows(model: Any, digests: Sequence[str]) -> dict[str, tuple[int | None, int | None, str]]:
    """Return `revoked_at`, `expires_at` and the account's status of keys or sessions, by digest."""
    columns = (model.digest, model.revoked_at, model.expires_at)
    if is_distributed():
        owners = list(model.select(*columns, model.account).where(model.digest.in_(digests)).tuples())
        statuses = _read_statuses({owner for *_, owner in owners})
        rows = [(*row, statuses.get(owner, "active")) for *row, owner in owners]
    else:
        rows = model.select(*columns, Account.status).join(Account).where(model.digest.in_(digests)).tuples()
    return {digest: (revoked_at, expires_at, status) for digest, revoked_at, expires_at, status in rows}


def _read_statuses(accounts: Collection[UUID]) -> dict[UUID, str]:
    """Return the status of each account. Those of a shard that is down are left out: it must not hide the others."""
    statuses: dict[UUID, str] = {}
    for group in group_by_shard(accounts):
        try:
            rows: Any = Account.select(Account.id, Account.status).where(Account.id.in_(group)).tuples()
            statuses.update(rows)
        except peewee.PeeweeException as error:
            if not is_temporary(error):
                raise
            drop_connection(error)
    return statuses
