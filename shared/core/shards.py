"""Shards of a database that is distributed by account. SQLite and a single PostgreSQL have one shard.

A distributed database has the function `yout_shard_of(uuid)`, which returns the shard of an account's rows; see
`docs/scaling.md`. A transaction that locks rows should stay on one shard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from shared.core.database import database, is_sqlite


def is_distributed() -> bool:
    """Return whether the bound database is distributed. Cached: processes must be restarted after a change."""
    if is_sqlite():
        return False
    target = database.obj
    if target.is_distributed is None:
        row = target.execute_sql("SELECT to_regprocedure('yout_shard_of(uuid)') IS NOT NULL").fetchone()
        target.is_distributed = bool(row[0])
    return bool(target.is_distributed)


def find_shards(accounts: Collection[UUID]) -> dict[UUID, int]:
    """Return the shard of each account, which need not exist. The database must be distributed."""
    rows = database.execute_sql("SELECT id, yout_shard_of(id) FROM unnest(%s::uuid[]) AS id", (list(accounts),))
    return dict(rows.fetchall())


def group_by_shard(accounts: Collection[UUID]) -> list[list[UUID]]:
    """Split accounts into groups that one transaction may lock: all together, unless the database is distributed."""
    if len(accounts) < 2 or not is_distributed():
        return [list(accounts)] if accounts else []
    groups: dict[int, list[UUID]] = defaultdict(list)
    for account, shard in find_shards(accounts).items():
        groups[shard].append(account)
    return list(groups.values())
