"""The figures of the first page: a span of the usage from its sums, and bounded counts of what is open now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import SQL, fn

from console.id_labels import channel_names, emails
from shared.ledger.sweep import SILENT_MS
from shared.models import Account, AIModel, EdgeProcess, Hold, LedgerEntry, MediaJob
from shared.rollup import Ranked, Scope, Span, Tally, figures, rolled_until, top_accounts

COUNT_UP_TO = 10_000  # beyond it a table is "more than", so that no page counts millions of rows
TOP = 8
BEHIND_MS = 3 * 3_600_000  # sums older than this are behind: a worker makes them a few minutes after each hour
TROUBLED, FAILING = 0.05, 0.25  # shares of failed calls from which a channel is called so
ENOUGH_CALLS = 5  # fewer say nothing about a channel


@dataclass(frozen=True, slots=True)
class Usage:
    """A span: in all, step by step (the oldest first), and what stands out in it. `lacking` as in `shared.rollup.Figures`."""

    total: Tally
    steps: list[tuple[int, Tally]]
    models: list[tuple[str, Tally]]
    channels: list[ChannelHealth]
    accounts: list[tuple[str, Ranked]]
    lacking: tuple[int, int] | None
    behind_since: int | None


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How the calls went that a channel answered; `id` is None for those that reached none."""

    id: UUID | None
    name: str
    tally: Tally

    @property
    def state(self) -> str:
        """`running`, `troubled` or `failing` by its share of failed calls; `quiet` when there are too few to tell."""
        share = self.tally.error_share
        if share is None or self.tally.calls < ENOUGH_CALLS:
            return "quiet"
        return "failing" if share >= FAILING else "troubled" if share >= TROUBLED else "running"


@dataclass(frozen=True, slots=True)
class Holds:
    """Open holds, the credits in them, and how many of them are stuck: past their deadline or of a silent edge process."""

    open: int
    credits: int
    stuck: int


@dataclass(frozen=True, slots=True)
class Refunds:
    """Refunds since midnight UTC, counted up to one more than `COUNT_UP_TO`, and their credits."""

    count: int
    credits: int


def usage(scope: Scope, span: Span, now: int) -> Usage:
    """Read a span. Every part of it is bounded, see `shared.rollup.read`."""
    by_time = figures(scope, span, "at", now, ("first_token",))
    by_channel = figures(scope, span, "channel", now, ("first_token",))
    by_model = figures(scope, span, "model", now)
    ranked = top_accounts(scope, span, now, TOP)
    emailed = emails(row.account for row in ranked)
    until = rolled_until()
    return Usage(
        by_time.total,
        [(at, by_time.groups.get(at, Tally())) for at in range(span.since, span.until, span.step)],
        _dearest(by_model.groups)[:TOP],
        _health(by_channel.groups),
        [(emailed.get(row.account, str(row.account)), row) for row in ranked],
        by_time.lacking,
        until if 0 < until < now - BEHIND_MS else None,
    )


def channel_health(span: Span, now: int) -> dict[UUID | None, ChannelHealth]:
    """How the calls of a span went, by the channel that answered them."""
    return {row.id: row for row in _health(figures(Scope(), span, "channel", now, ("first_token",)).groups)}


def channel_steps(channel: UUID, span: Span, now: int) -> list[tuple[int, Tally]]:
    """A channel's calls of a span, step by step, the oldest first."""
    by_time = figures(Scope(channel=channel), span, "at", now, ("first_token",)).groups
    return [(at, by_time.get(at, Tally())) for at in range(span.since, span.until, span.step)]


def models_used(span: Span, now: int) -> set[str]:
    """The models that were called in a span."""
    return set(figures(Scope(), span, "model", now).groups)


def _dearest(groups: dict[Any, Tally]) -> list[tuple[Any, Tally]]:
    return sorted(groups.items(), key=lambda item: (-item[1].credits, -item[1].calls, str(item[0])))


def _health(groups: dict[Any, Tally]) -> list[ChannelHealth]:
    """The channels with most failed calls first."""
    names = channel_names(groups)
    rows = [ChannelHealth(id, names.get(id, str(id)) if id else "none reached", tally) for id, tally in groups.items()]
    return sorted(rows, key=lambda row: (-(row.tally.error_share or 0), -row.tally.calls, row.name))


def holds(now: int) -> Holds:
    """Count the open holds, which are as many as calls are running."""
    alive = EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - SILENT_MS)
    stuck = (Hold.expires_at < now) | (Hold.edge_process.is_null(False) & Hold.edge_process.not_in(alive))
    row: Any = (
        Hold.select(fn.COUNT(Hold.id), fn.COALESCE(fn.SUM(Hold.amount), 0), fn.COALESCE(fn.SUM(stuck.cast("integer")), 0))
        .where(Hold.state == "held")
        .tuples()
        .get()
    )
    return Holds(*map(int, row))


def refunds_today(now: int) -> Refunds:
    """What was given back since midnight UTC, by refunds of calls and jobs."""
    today = now - now % 86_400_000
    newest = (
        LedgerEntry.select(LedgerEntry.amount)
        .where((LedgerEntry.kind == "refund") & (LedgerEntry.created_at >= today))
        .limit(COUNT_UP_TO + 1)
    )
    row: Any = newest.select_from(fn.COUNT(SQL("*")), fn.COALESCE(fn.SUM(newest.c.amount), 0)).tuples().get()
    return Refunds(*map(int, row))


def jobs(since: int) -> dict[str, int]:
    """Media jobs that are open, and those that failed since then, each counted up to one more than `COUNT_UP_TO`."""
    counts = {status: MediaJob.select(SQL("1")).where(MediaJob.status == status) for status in ("queued", "running")}
    began = UUID(int=since << 80)  # ids sort by time
    counts["failed"] = MediaJob.select(SQL("1")).where((MediaJob.status == "failed") & (MediaJob.id >= began))
    return {status: int(query.limit(COUNT_UP_TO + 1).count()) for status, query in counts.items()}


def count_accounts() -> int:
    """How many accounts there are, counted up to one more than `COUNT_UP_TO`."""
    return int(Account.select(SQL("1")).limit(COUNT_UP_TO + 1).count())


def count_models() -> tuple[int, int]:
    """(models that are offered, all models)."""
    counts: Any = AIModel.select(AIModel.status, fn.COUNT(AIModel.id)).group_by(AIModel.status).tuples()
    rows = dict(counts)
    return rows.get("active", 0), sum(rows.values())
