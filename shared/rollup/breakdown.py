"""An account's usage by day, model, key, member or tag, for the account's own reports.

Whole days and hours are read from the sums by key and tag, the rest from the calls: less than two hours of calls while the worker
runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from shared.ledger.sql import as_uuid, execute
from shared.models import NO_KEY
from shared.rollup.sql import DAY_MS, HOUR_MS, KEY_CALL_MEASURES, KEY_MEASURES

Breakdown = Literal["day", "model", "key", "member", "tag"]


class UsageSums(NamedTuple):
    """Sums over calls. `input_tokens` include cached tokens."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    credits: int = 0

    def plus(self, other: UsageSums) -> UsageSums:
        return UsageSums(*map(sum, zip(self, other, strict=True)))


def last_days(account: UUID) -> dict[UUID, int]:
    """Return the start of the last summed day with calls (ms UTC) by key of an account. It is known after calls are deleted."""
    rows = execute("SELECT api_key, MAX(at) FROM key_usage WHERE account = ? AND grain_hours = 24 GROUP BY api_key", [account])
    return {as_uuid(key): int(at) for key, at in rows.fetchall()}


class _Piece(NamedTuple):
    grain: int  # hours per sum; 0: read from calls
    since: int
    until: int


def read_breakdown(
    account: UUID, since: int, until: int, by: Breakdown, keys: Sequence[UUID] | None = None
) -> dict[Any, UsageSums]:
    """Return the usage of an account, or of some of its `keys`, in [since, until), by `by`. Both are starts of UTC days, in ms.

    A group is the start of a day, a model id, a key (None: web sessions), a member or a tag (None: no tag; `OTHER_TAGS`).
    One statement reads all sums, so calls that are being summed up are counted once.
    """
    restriction, values = ("", [account]) if keys is None else (" AND api_key IN ?", [account, list(keys)])
    statements: list[str] = []
    parameters: list[Any] = []
    for piece in _pieces(since, until):
        owner = "account" if piece.grain else "account_id"
        for select in _selects(piece, by):
            statements.append(f"{select} AND {owner} = ?{restriction} GROUP BY 1")
            parameters += [*([piece.grain] if piece.grain else []), piece.since, piece.until, *values]
    if not statements:
        return {}
    groups: dict[Any, UsageSums] = {}
    members = _members(account) if by in ("key", "member") else {}
    for name, *sums in execute(" UNION ALL ".join(statements), parameters).fetchall():
        group = _group(by, name, account, members)
        groups[group] = groups.get(group, UsageSums()).plus(UsageSums(*(int(value or 0) for value in sums)))
    return {group: sums for group, sums in groups.items() if sums.calls}


def _pieces(since: int, until: int) -> Iterator[_Piece]:
    """Split a span so that as much as possible is read from sums."""
    rolled, keys_from = execute("SELECT COALESCE(rolled_until, 0), keys_from FROM rollup_state WHERE id = 1", []).fetchone()
    first = min(max(since, keys_from), until)
    last_day = max(first, min(rolled - rolled % DAY_MS, until))
    last_hour = max(last_day, min(rolled - rolled % HOUR_MS, until))
    pieces = (_Piece(24, first, last_day), _Piece(1, last_day, last_hour), _Piece(0, since, first), _Piece(0, last_hour, until))
    return (piece for piece in pieces if piece.since < piece.until)


_CALL_GROUPS = {"day": f"created_at / {DAY_MS} * {DAY_MS}", "model": "model", "key": "api_key"} | {
    "member": "member",
    "tag": "COALESCE(tag, '')",
}
# Sums have no member, but its key; for calls of web sessions the member takes the place of the key.
_SUM_GROUPS = {"day": f"at / {DAY_MS} * {DAY_MS}", "model": "model", "key": "api_key", "member": "api_key"}


def _selects(piece: _Piece, by: Breakdown) -> Iterator[str]:
    """Yield SELECTs for a piece, up to the account. Their parameters are the grain, unless it is 0, and the piece's span."""
    if not piece.grain:
        measures = ", ".join(KEY_CALL_MEASURES)
        yield f"SELECT {_CALL_GROUPS[by]}, {measures} FROM usage_ledger WHERE created_at >= ? AND created_at < ?"
    elif by == "tag":
        yield _select_sums("tag_usage", "tag")
        yield _select_sums("key_usage", "''")
        yield _select_sums("tag_usage", "''", "-")  # leaves the calls without a tag
    else:
        yield _select_sums("key_usage", _SUM_GROUPS[by])


def _select_sums(table: str, group: str, sign: str = "") -> str:
    measures = ", ".join(f"{sign}SUM({column})" for column in KEY_MEASURES)
    return f"SELECT {group}, {measures} FROM {table} WHERE grain_hours = ? AND at >= ? AND at < ?"


def _members(account: UUID) -> dict[UUID, UUID]:
    """Return the member of each key of an account, and each member by its own id."""
    keys = execute("SELECT id, coalesce(member, account_id) FROM api_key WHERE account_id = ?", [account]).fetchall()
    members = execute("SELECT id, id FROM member WHERE account_id = ?", [account]).fetchall()
    return {as_uuid(id): as_uuid(member) for id, member in (*keys, *members)}


def _group(by: Breakdown, name: Any, account: UUID, members: dict[UUID, UUID]) -> Any:
    if by in ("key", "member"):
        id = as_uuid(name) if name is not None else NO_KEY
        if by == "member":
            return members.get(id, account)
        return None if id == NO_KEY or members.get(id) == id else id
    return name or None if by == "tag" else name
