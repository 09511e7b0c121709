"""Merges the costs of failed attempts by hour, so that figures stay and rows do not grow with the calls."""

from __future__ import annotations

import time
from collections import Counter
from uuid import UUID

from shared.core.clock import new_id
from shared.core.database import transaction
from shared.ledger.sql import as_uuid, execute, insert
from shared.rollup.sql import HOUR_MS

KEEP_SINGLE_HOURS = 2 * 24  # figures of recent hours may begin and end within an hour
BATCH = 2_000  # rows per transaction
_COLUMNS = ("id", "created_at", "model", "channel", "last_channel", "provider_cost")


def merge_failover_costs(now: int, seconds: float) -> int:
    """Merge old costs by hour, model and channels, for about `seconds`, and return the number of removed rows.

    A merged row has the time at which its hour begins. Runs its own short transactions.
    """
    deadline, removed = time.monotonic() + seconds, 0
    until = now - now % HOUR_MS - KEEP_SINGLE_HOURS * HOUR_MS
    while (oldest := _oldest_single(until)) is not None and time.monotonic() < deadline:
        removed += _merge(oldest - oldest % HOUR_MS)
    return removed


def _oldest_single(until: int) -> int | None:
    query = f"SELECT min(created_at) FROM failover_cost WHERE created_at < ? AND created_at <> created_at / {HOUR_MS} * {HOUR_MS}"
    found = execute(query, [until]).fetchone()[0]
    return None if found is None else int(found)


def _merge(hour: int) -> int:
    """Merge up to `BATCH` rows of an hour. An hour with more rows has several merged ones."""
    with transaction():
        rows = execute(
            "DELETE FROM failover_cost WHERE id IN (SELECT id FROM failover_cost WHERE created_at > ? AND created_at < ?"
            " LIMIT ?) RETURNING model, channel, last_channel, provider_cost",
            [hour, hour + HOUR_MS, BATCH],
        ).fetchall()
        sums: Counter[tuple[str, UUID, UUID]] = Counter()
        for model, channel, last_channel, cost in rows:
            sums[model, as_uuid(channel), as_uuid(last_channel)] += int(cost)
        insert("failover_cost", _COLUMNS, [(new_id(), hour, *group, cost) for group, cost in sums.items()])
    return len(rows) - len(sums)
