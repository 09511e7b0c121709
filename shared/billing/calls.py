"""An account's calls, newest first and filtered. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from peewee import fn

from shared.models import ApiKey, UsageLedger

PAGE_SIZE = 50  # calls on a page
BATCH_SIZE = 1_000  # calls per query of an export


class CallFilters(NamedTuple):
    """Which calls to list; None means all. `since` and `until` bound the start of the call, in ms UTC, `until` excluded.

    `by_session` selects the calls of web sessions, which have no key.
    """

    since: int | None = None
    until: int | None = None
    model: str | None = None
    key: UUID | None = None
    by_session: bool = False
    tag: str | None = None
    status: str | None = None
    member: UUID | None = None


class CallUsage(NamedTuple):
    """One call, with the name of its key."""

    id: UUID
    at: int
    key_name: str | None
    model: str
    status: str
    error_code: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    credits: int
    estimated: bool
    duration_ms: int
    tag: str | None


class CallPosition(NamedTuple):
    """The place of a call in the list."""

    at: int
    id: UUID


def list_calls(account: UUID, filters: CallFilters, after: CallPosition | None = None, limit: int = PAGE_SIZE) -> list[CallUsage]:
    """Return at most `limit` calls, from the start or those that are older than `after`."""
    calls = UsageLedger
    query: Any = calls.select(
        *(calls.id, calls.created_at, ApiKey.name, calls.model, calls.status, calls.error_code, calls.input_tokens),
        *(calls.cached_tokens, calls.output_tokens, calls.credits, calls.estimated, calls.duration_ms, calls.tag),
    ).left_outer_join(ApiKey, on=(ApiKey.id == calls.api_key))
    query = query.where(calls.account == account, *_conditions(filters))
    if after is not None:
        query = query.where(calls.created_at <= after.at)  # a bound of its own, which the index needs
        query = query.where((calls.created_at < after.at) | (calls.id < after.id))
    rows = query.order_by(calls.created_at.desc(), calls.id.desc()).limit(limit).tuples()
    return [CallUsage(*row) for row in rows]


def position_of(account: UUID, id: UUID | None) -> CallPosition | None:
    """Return the place of an account's call, or None if there is no such call."""
    row = UsageLedger.get_or_none((UsageLedger.id == id) & (UsageLedger.account == account)) if id is not None else None
    return CallPosition(row.created_at, row.id) if row is not None else None


def _conditions(filters: CallFilters) -> Iterator[Any]:
    calls = UsageLedger
    if filters.since is not None:
        yield calls.created_at >= filters.since
    if filters.until is not None:
        yield calls.created_at < filters.until
    if filters.by_session:
        yield calls.api_key.is_null()
    if filters.member is not None:  # the first owner has the account's id
        yield fn.COALESCE(calls.member, calls.account) == filters.member
    columns = {calls.model: filters.model, calls.api_key: filters.key, calls.tag: filters.tag, calls.status: filters.status}
    yield from (column == value for column, value in columns.items() if value is not None)
