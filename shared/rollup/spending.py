"""The spending of an account's keys and members in the current month or day: from the sums, like `shared.rollup.breakdown`.

A key or member with a limit also has a counter. It is exact, and remains when calls are deleted, so the larger figure counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from shared.core.billing_periods import month_start
from shared.ledger.allowances import member_counts, month_counts
from shared.rollup.breakdown import Breakdown, read_breakdown
from shared.rollup.sql import DAY_MS


def month_spending(account: UUID, now: int) -> dict[UUID, int]:
    """Return the credits charged in the calendar month of `now`, by key of an account; keys without calls are left out.

    A key with a monthly limit includes the keys that it created or replaced, which count toward its limit.
    """
    return _larger(_charged(account, month_start(now), now, "key"), month_counts(account, now))


def member_spending(account: UUID, now: int, *, daily: bool = False) -> dict[UUID, int]:
    """Return the credits charged in the month (or day) of `now` by member of an account, without members who have no calls."""
    since = now - now % DAY_MS if daily else month_start(now)
    return _larger(_charged(account, since, now, "member"), member_counts(account, now, daily=daily))


def _charged(account: UUID, since: int, now: int, by: Breakdown) -> dict[UUID, int]:
    groups: dict[Any, Any] = read_breakdown(account, since, now - now % DAY_MS + DAY_MS, by)
    return {id: sums.credits for id, sums in groups.items() if id is not None}


def _larger(charged: dict[UUID, int], counted: Mapping[UUID, int]) -> dict[UUID, int]:
    return charged | {id: max(used, charged.get(id, 0)) for id, used in counted.items()}
