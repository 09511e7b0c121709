"""Reads usage figures of a time span: from the sums where they exist, from the calls otherwise.

A span is split into whole days, whole hours, and the rest at both ends. Reading calls is limited, so that a page never scans
millions of rows: at most the latest `MAX_CALLS` per piece, and `Figures.lacking` is the part that was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple
from uuid import UUID

from shared.core.latency_histogram import BOUNDS_MS, column_names
from shared.ledger.sql import as_uuid, execute
from shared.models import NO_CHANNEL
from shared.rollup.sql import COSTED_CREDITS, DAY_MS, FAILED, HOUR_MS, bucket_counts
from shared.rollup.tally import Tally
from shared.rollup.write import first_kept_hour

MAX_CALLS = 150_000
GroupBy = Literal["all", "at", "model", "channel", "account"]
Latency = Literal["first_token", "duration"]


class Scope(NamedTuple):
    """Which calls to include; None means all."""

    account: UUID | None = None
    model: str | None = None
    channel: UUID | None = None
    status: str | None = None


class TimeSpan(NamedTuple):
    """Time from `since` to before `until`, ms UTC. `step` is the interval for figures by time."""

    since: int
    until: int
    step: int = HOUR_MS


@dataclass(frozen=True, slots=True)
class UsageFigures:
    """Tallies by group: start of a step, model, channel (None: no channel), account, or "" for all.

    `lacking` is the span that is not included, because it has too many calls and no sums yet; None if nothing is missing.
    """

    groups: dict[Any, Tally]
    missing_span: tuple[int, int] | None = None

    @property
    def total(self) -> Tally:
        total = Tally()
        for tally in self.groups.values():
            total = total.plus(tally)
        return total


class AccountRank(NamedTuple):
    """An account in a ranking, with its figures."""

    account: UUID
    tally: Tally


class _Piece(NamedTuple):
    grain: int  # hours per sum; 0: read from calls
    since: int
    until: int


def rolled_until() -> int:
    """Return the time (ms UTC) up to which usage is summed; 0 if there are no sums yet."""
    return int(execute("SELECT COALESCE(rolled_until, 0) FROM rollup_state WHERE id = 1", []).fetchone()[0])


def read_figures(
    scope: Scope,
    span: TimeSpan,
    by: GroupBy,
    now: int,
    latencies: Sequence[Latency] = (),
    accounts: Sequence[UUID] | None = None,
) -> UsageFigures:
    """Return the figures of `span`, only of `accounts` if given. Reads the bound database; `now` is in ms UTC."""
    groups: dict[Any, Tally] = {}
    lacking = None
    for piece in _pieces(scope, span, by, now):
        sql, parameters = _select(scope, piece, by, span.step, latencies, accounts)
        rows = execute(sql, parameters).fetchall()
        for key, *row in rows:
            key, tally = _key(by, key), _tally(row[:-1], latencies)
            groups[key] = groups[key].plus(tally) if key in groups else tally
        if not piece.grain and sum(row[1] for row in rows) >= MAX_CALLS:
            lacking = (piece.since, min(row[-1] for row in rows))
    if scope.account is None and scope.status is None and accounts is None and by != "account":
        _move_failed_costs(groups, scope, span, by)
    return UsageFigures(groups, lacking)


def _move_failed_costs(groups: dict[Any, Tally], scope: Scope, span: TimeSpan, by: GroupBy) -> None:
    """Move the costs of failed attempts from the channels that served the calls to those that failed.

    This changes only figures that are grouped by channel, or limited to one channel.
    """
    if by != "channel" and scope.channel is None:
        return
    for column, sign in (("last_channel", -1), ("channel", 1)):
        where, values = _conditions(scope._replace(channel=None), "account_id")
        if scope.channel is not None:
            where, values = f"{where} AND {column} = ?", [*values, scope.channel]
        group = column if by == "channel" else _group(by, span.step, 0)
        rows = execute(
            f"SELECT {group} AS grouped, SUM(provider_cost) FROM failover_cost WHERE created_at >= ? AND created_at < ?{where}"
            " GROUP BY 1",
            [span.since, span.until, *values],
        )
        for key, credits in rows.fetchall():
            key = _key(by, key)
            groups[key] = groups.get(key, Tally()).plus(Tally(provider_cost=sign * int(credits)))


def top_accounts(scope: Scope, span: TimeSpan, now: int, count: int) -> list[AccountRank]:
    """Return the `count` accounts with the highest charges. The database ranks them, because there may be many.

    The figures are read in a second step, because the indexes that rank accounts contain only calls and credits.
    """
    selects = [_ranked(scope, piece) for piece in _pieces(scope, span, "account", now)]
    rows = execute(
        f"SELECT account FROM ({' UNION ALL '.join(sql for sql, _ in selects)}) AS pieces"
        " GROUP BY account ORDER BY SUM(credits) DESC, SUM(calls) DESC LIMIT ?",
        [*(value for _, parameters in selects for value in parameters), count],
    ).fetchall()
    ranked = [as_uuid(account) for (account,) in rows]
    figures = read_figures(scope, span, "account", now, accounts=ranked).groups if ranked else {}
    return [AccountRank(account, figures.get(account, Tally())) for account in ranked]


def _ranked(scope: Scope, piece: _Piece) -> tuple[str, list[Any]]:
    """Return SQL for a piece by account, from the accounts' totals if the scope allows it."""
    where, values = _conditions(scope, "account" if piece.grain else "account_id")
    if not piece.grain:
        sql, parameters = _select(scope, piece, "account", 1, ())
        return f"SELECT grouped AS account, calls, credits FROM ({sql}) AS newest", parameters
    table = "account_total" if scope[1:] == (None, None, None) else "account_usage"
    sql = (
        f"SELECT account, SUM(calls) AS calls, SUM(credits) AS credits"
        f" FROM {table} WHERE grain_hours = ? AND at >= ? AND at < ?{where} GROUP BY account"
    )
    return sql, [piece.grain, piece.since, piece.until, *values]


def _pieces(scope: Scope, span: TimeSpan, by: GroupBy, now: int) -> Iterator[_Piece]:
    """Split a span so that as much as possible is read from sums, with the largest first."""
    since, until, rolled = span.since, span.until, rolled_until()
    days = by != "at" or span.step % DAY_MS == 0
    hours_from = first_kept_hour(now) if _of_accounts(scope, by) else 0
    first, last = _up(since, HOUR_MS), _down(min(until, rolled), HOUR_MS)
    if days and _up(first, DAY_MS) < _down(last, DAY_MS):
        first_day, last_day = _up(first, DAY_MS), _down(last, DAY_MS)
        yield _Piece(24, first_day, last_day)
        ends = [(first, first_day), (last_day, last)]
    else:
        ends = [(first, last)]
    for begin, end in ends:
        sums = max(begin, min(hours_from, end))
        if sums < end:
            yield _Piece(1, sums, end)
        if begin < sums:
            yield _Piece(0, begin, sums)
    if first >= last:
        yield _Piece(0, since, until)
        return
    for begin, end in ((since, first), (last, until)):
        if begin < end:
            yield _Piece(0, begin, end)


def _up(moment: int, step: int) -> int:
    return -(-moment // step) * step


def _down(moment: int, step: int) -> int:
    return moment // step * step


def _of_accounts(scope: Scope, by: GroupBy) -> bool:
    return scope.account is not None or by == "account"


_SHOWN = tuple(field.name for field in fields(Tally))[:12]
_COUNTERS = _SHOWN[2:]


def _select(
    scope: Scope,
    piece: _Piece,
    by: GroupBy,
    step: int,
    latencies: Sequence[Latency],
    accounts: Sequence[UUID] | None = None,
) -> tuple[str, list[Any]]:
    """Return SQL and its parameters. Its rows have a group, the `_SHOWN` columns, counts by bucket, and the oldest time."""
    account = "account" if piece.grain else "account_id"
    where, values = _conditions(scope, account)
    if accounts is not None:
        where, values = f"{where} AND {account} IN ?", [*values, list(accounts)]
    if piece.grain:
        measures = ["SUM(calls)", f"SUM(CASE WHEN {FAILED} THEN calls END)", *(f"SUM({name})" for name in _COUNTERS)]
        buckets = [f"SUM({column})" for latency in latencies for column in column_names(latency)]
        table = "account_usage" if _of_accounts(scope, by) else "platform_usage"
        source = f"FROM {table} WHERE grain_hours = ? AND at >= ? AND at < ?{where}"
        parameters: list[Any] = [piece.grain, piece.since, piece.until, *values]
    else:
        measures = ["COUNT(*)", f"SUM(CASE WHEN {FAILED} THEN 1 END)", "SUM(CASE WHEN estimated THEN 1 END)"]
        measures += [COSTED_CREDITS if name == "costed_credits" else f"SUM({name})" for name in _COUNTERS[1:]]
        buckets = [expression for latency in latencies for expression in bucket_counts(latency)]
        source = (
            f"FROM (SELECT * FROM usage_ledger WHERE created_at >= ? AND created_at < ?{where}"
            " ORDER BY created_at DESC LIMIT ?) AS newest"
        )
        parameters = [piece.since, piece.until, *values, MAX_CALLS]
    shown = [f"{measure} AS {name}" for measure, name in zip(measures, _SHOWN, strict=True)]
    oldest = "MIN(at)" if piece.grain else "MIN(created_at)"
    group = f"{_group(by, step, piece.grain)} AS grouped"
    return f"SELECT {', '.join((group, *shown, *buckets, oldest))} {source} GROUP BY 1", parameters


def _conditions(scope: Scope, account: str) -> tuple[str, list[Any]]:
    named = {account: scope.account, "model": scope.model, "channel": scope.channel, "status": scope.status}
    conditions = {column: value for column, value in named.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in conditions), list(conditions.values())


def _group(by: GroupBy, step: int, grain: int) -> str:
    if by == "all":
        return "''"
    if by == "at":
        return f"{'at' if grain else 'created_at'} / {step} * {step}"
    return "account_id" if by == "account" and not grain else by


def _key(by: GroupBy, value: Any) -> Any:
    if by not in ("channel", "account"):
        return value
    found = as_uuid(value) if value is not None else None
    return None if found == NO_CHANNEL else found


def _tally(row: Sequence[Any], latencies: Sequence[Latency]) -> Tally:
    counters = [int(value or 0) for value in row]
    plain: list[Any] = counters[: len(_SHOWN)]
    rest, size = counters[len(_SHOWN) :], len(BOUNDS_MS)
    buckets: dict[str, Any] = {
        latency: tuple(rest[number * size : (number + 1) * size]) for number, latency in enumerate(latencies)
    }
    return Tally(*plain, **buckets)
