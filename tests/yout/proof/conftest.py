"""An installation with a migrated database and a Redis, and the rows that a proof may leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.yout.command import Installation

SECRET_KEY = "0123456789abcdef" * 2
KEPT = {
    "audit_entry",
    "ledger_seal",
    "ledger_leaf",
    "request_shape",
    "catalog_version",
    "rollup_state",
    "price_check",
    "alert_check",
}


@pytest.fixture
def installation(tmp_path: Path, migrated_sqlite: Path, redis_url: str) -> Installation:
    (tmp_path / "var").mkdir(mode=0o700)
    shutil.copy(migrated_sqlite, tmp_path / "var" / "yout.db")
    settings = {"YOUT_DRAIN_SECONDS": "5", "YOUT_OUTBOUND_NETWORKS": "127.0.0.1/32"}
    return Installation(tmp_path, REDIS_URL=redis_url, SECRET_KEY=SECRET_KEY, **settings)


@pytest.fixture
def rows(installation: Installation) -> Callable[[], dict[str, int]]:
    """Returns the number of rows of each table in which a proof must leave none."""

    def count() -> dict[str, int]:
        with installation.database() as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            counts = {table: database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables}
        return {table: number for table, number in counts.items() if table not in KEPT}

    return count
