"""The figures of the first page: the last 24 hours from one scan of the usage by time, and a few bounded counts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from shared.ledger.sweep import SILENT_MS
from shared.models import Account, AIModel, EdgeProcess, Hold, UsageLedger

HOUR_MS = 3_600_000
HOURS = 24
COUNT_UP_TO = 10_000  # beyond it a table is "more than", so that no page counts millions of rows


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls, credits charged for them, and how many failed."""

    calls: int = 0
    credits: int = 0
    errors: int = 0

    def plus(self, other: Tally) -> Tally:
        return Tally(self.calls + other.calls, self.credits + other.credits, self.errors + other.errors)


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours: in all, hour by hour (the oldest first), and by model (the dearest first)."""

    total: Tally
    hours: list[Tally]
    models: list[tuple[str, Tally]]


@dataclass(frozen=True, slots=True)
class Holds:
    """Open holds, the credits in them, and how many of them are stuck: past their deadline or of a silent edge process."""

    open: int
    credits: int
    stuck: int


def last_day(now: int) -> Day:
    """Read the usage of the 24 hours before `now` (ms UTC)."""
    since = now - HOURS * HOUR_MS
    hour = (UsageLedger.created_at - since) / HOUR_MS
    rows: Any = (
        UsageLedger.select(
            hour.alias("hour"),
            UsageLedger.model,
            fn.COUNT(UsageLedger.id).alias("calls"),
            fn.SUM(UsageLedger.credits).alias("credits"),
            fn.SUM(failed().cast("integer")).alias("errors"),
        )
        .where(UsageLedger.created_at > since)
        .group_by(SQL("1"), UsageLedger.model)
        .tuples()
    )
    hours: dict[int, Tally] = defaultdict(Tally)
    models: dict[str, Tally] = defaultdict(Tally)
    for index, model, *counts in rows:
        tally = Tally(*map(int, counts))
        index = min(int(index), HOURS - 1)  # a row of this very moment belongs to the hour that ends now
        hours[index] = hours[index].plus(tally)
        models[model] = models[model].plus(tally)
    ranked = sorted(models.items(), key=lambda item: (-item[1].credits, -item[1].calls, item[0]))
    total = sum_of(hours.values())
    return Day(total, [hours[index] for index in range(HOURS)], ranked)


def failed() -> Any:
    """The condition that a call ended badly. A call that its caller broke off did not."""
    return UsageLedger.status.in_(("failed", "expired"))


def sum_of(tallies: Any) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total


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


def count_accounts() -> int:
    """How many accounts there are, counted up to one more than `COUNT_UP_TO`."""
    return int(Account.select(SQL("1")).limit(COUNT_UP_TO + 1).count())


def count_models() -> tuple[int, int]:
    """(models that are offered, all models)."""
    counts: Any = AIModel.select(AIModel.status, fn.COUNT(AIModel.id)).group_by(AIModel.status).tuples()
    rows = dict(counts)
    return rows.get("active", 0), sum(rows.values())
