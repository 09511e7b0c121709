"""The numbers on the home page: usage over a range, and bounded counts of what is open now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import SQL, fn

from console.id_labels import account_emails, channel_names
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS
from shared.models import Account, AIModel, EdgeProcess, Hold, LedgerEntry, MediaJob, Subscription
from shared.operations.payments import unpaid_bills
from shared.rollup import Scope, Tally, TimeSpan, read_figures, rolled_until, top_accounts
from shared.text.translation import gettext

MAX_COUNT = 10_000  # larger counts are shown as "over 10 000", so that no page counts millions of rows
TOP_ROWS = 8
STALE_ROLLUP_MS = 3 * 3_600_000  # rollups older than this are reported; a worker runs them a few minutes after each hour
DEGRADED, FAILING = 0.05, 0.25  # error rates at which a channel gets this state
MIN_CALLS = 5  # below this number of calls a channel has the state `low traffic`


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage over a range: the total, each step (oldest first), and the top rows. `lacking` is as in
    `shared.rollup.UsageFigures`."""

    total: Tally
    buckets: list[tuple[int, Tally]]
    models: list[tuple[str, Tally]]
    channels: list[ChannelHealth]
    accounts: list[tuple[str, Tally]]
    missing_range: tuple[int, int] | None
    stale_since: int | None


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """The results of the calls that a channel answered. `id` is None for calls that reached no channel."""

    id: UUID | None
    name: str
    tally: Tally

    @property
    def state(self) -> str:
        """`running`, `degraded` or `failing` by the error rate; `low traffic` below `MIN_CALLS` calls."""
        share = self.tally.error_rate
        if share is None or self.tally.calls < MIN_CALLS:
            return "low traffic"
        return "failing" if share >= FAILING else "degraded" if share >= DEGRADED else "running"


@dataclass(frozen=True, slots=True)
class Holds:
    """Open holds, the credits in them, and how many are stuck: overdue, or of an edge process that stopped reporting."""

    open: int
    credits: int
    stuck: int


@dataclass(frozen=True, slots=True)
class Refunds:
    """Refunds since midnight UTC (at most `MAX_COUNT` + 1) and their credits."""

    count: int
    credits: int


@dataclass(frozen=True, slots=True)
class Business:
    """Purchases and redeemed codes of a range, plans that ended in it, and active plans with their overage not yet billed.

    Counts are at most `MAX_COUNT` + 1.
    """

    top_ups: int
    top_up_credits: int
    ended: int
    active: int
    overage: int
    unpaid_bills: int
    unpaid_credits: int

    @property
    def churn(self) -> float | None:
        """The share of plans that ended: of those active now and those that ended. None if there are none."""
        all_of_them = self.ended + self.active
        return self.ended / all_of_them if all_of_them else None


def usage(scope: Scope, span: TimeSpan, now: int) -> Usage:
    """Read usage over a range. Every query is bounded; see `shared.rollup.read`."""
    by_time = read_figures(scope, span, "at", now, ("first_token",))
    by_channel = read_figures(scope, span, "channel", now, ("first_token",))
    by_model = read_figures(scope, span, "model", now)
    ranked = top_accounts(scope, span, now, TOP_ROWS)
    emailed = account_emails(row.account for row in ranked)
    until = rolled_until()
    return Usage(
        by_time.total,
        [(at, by_time.groups.get(at, Tally())) for at in range(span.since, span.until, span.step)],
        _by_credits(by_model.groups)[:TOP_ROWS],
        _health(by_channel.groups),
        [(emailed.get(row.account, str(row.account)), row.tally) for row in ranked],
        by_time.missing_span,
        until if 0 < until < now - STALE_ROLLUP_MS else None,
    )


def channel_health(span: TimeSpan, now: int) -> dict[UUID | None, ChannelHealth]:
    """Return call results per channel over a range."""
    return {row.id: row for row in _health(read_figures(Scope(), span, "channel", now, ("first_token",)).groups)}


def channel_timeseries(channel: UUID, span: TimeSpan, now: int) -> list[tuple[int, Tally]]:
    """Return a channel's calls in each step of a range, oldest first."""
    by_time = read_figures(Scope(channel=channel), span, "at", now, ("first_token",)).groups
    return [(at, by_time.get(at, Tally())) for at in range(span.since, span.until, span.step)]


def models_used(span: TimeSpan, now: int) -> set[str]:
    """Return the models that were called in a range."""
    return set(read_figures(Scope(), span, "model", now).groups)


def _by_credits(groups: dict[Any, Tally]) -> list[tuple[Any, Tally]]:
    return sorted(groups.items(), key=lambda item: (-item[1].credits, -item[1].calls, str(item[0])))


def _health(groups: dict[Any, Tally]) -> list[ChannelHealth]:
    """Return the channels, highest error rate first."""
    names = channel_names(groups)
    rows = [ChannelHealth(id, names.get(id, str(id)) if id else gettext("none reached"), tally) for id, tally in groups.items()]
    return sorted(rows, key=lambda row: (-(row.tally.error_rate or 0), -row.tally.calls, row.name))


def holds(now: int) -> Holds:
    """Count open holds. The count has no limit, because there are only as many open holds as calls in progress."""
    alive = EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - HEARTBEAT_TIMEOUT_MS)
    stuck = (Hold.expires_at < now) | (Hold.edge_process.is_null(False) & Hold.edge_process.not_in(alive))
    row: Any = (
        Hold.select(fn.COUNT(Hold.id), fn.COALESCE(fn.SUM(Hold.amount), 0), fn.COALESCE(fn.SUM(stuck.cast("integer")), 0))
        .where(Hold.state == "held")
        .tuples()
        .get()
    )
    return Holds(*map(int, row))


def refunds_today(now: int) -> Refunds:
    """Count the refunds since midnight UTC."""
    today = now - now % 86_400_000
    newest = (
        LedgerEntry.select(LedgerEntry.amount)
        .where((LedgerEntry.kind == "refund") & (LedgerEntry.created_at >= today))
        .limit(MAX_COUNT + 1)
    )
    row: Any = newest.select_from(fn.COUNT(SQL("*")), fn.COALESCE(fn.SUM(newest.c.amount), 0)).tuples().get()
    return Refunds(*map(int, row))


def business(since: int, until: int) -> Business:
    """Return purchases and ended plans of a range, and unbilled overage. Reads indexes of the ledger and subscriptions."""
    bought = (
        LedgerEntry.select(LedgerEntry.amount)
        .where((LedgerEntry.kind == "purchase") & (LedgerEntry.created_at >= since) & (LedgerEntry.created_at < until))
        .limit(MAX_COUNT + 1)
    )
    top_ups: Any = bought.select_from(fn.COUNT(SQL("*")), fn.COALESCE(fn.SUM(bought.c.amount), 0)).tuples().get()
    ended_in_range = (Subscription.ended_at >= since) & (Subscription.ended_at < until)
    ended = Subscription.select(SQL("1")).where(ended_in_range).limit(MAX_COUNT + 1).count()
    running: Any = (
        Subscription.select(fn.COUNT(Subscription.id), fn.COALESCE(fn.SUM(Subscription.overage_used), 0))
        .where(Subscription.status == "active")
        .tuples()
        .get()
    )
    (count, credits), (active, overage) = top_ups, running
    bills = unpaid_bills()
    return Business(
        int(count), int(credits), int(ended), int(active), int(overage), len(bills), sum(bill.credits for bill in bills)
    )


def jobs(since: int) -> dict[str, int]:
    """Count open media jobs, and those that failed since `since` (ms UTC); each count is at most `MAX_COUNT` + 1."""
    counts = {status: MediaJob.select(SQL("1")).where(MediaJob.status == status) for status in ("queued", "running")}
    began = UUID(int=since << 80)  # UUIDv7 ids sort by time
    counts["failed"] = MediaJob.select(SQL("1")).where((MediaJob.status == "failed") & (MediaJob.id >= began))
    return {status: int(query.limit(MAX_COUNT + 1).count()) for status, query in counts.items()}


def count_accounts() -> int:
    """Return the number of accounts, at most `MAX_COUNT` + 1."""
    return int(Account.select(SQL("1")).limit(MAX_COUNT + 1).count())


def count_models() -> tuple[int, int]:
    """Return (enabled models, all models)."""
    counts: Any = AIModel.select(AIModel.status, fn.COUNT(AIModel.id)).group_by(AIModel.status).tuples()
    rows = dict(counts)
    return rows.get("active", 0), sum(rows.values())
