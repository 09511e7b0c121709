"""One database of each kind for a whole package of tests; its ledger must verify after every test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import peewee

from shared.core.clock import now_ms
from shared.core.database import bind_database, database
from shared.ledger.verify import verify_ledger
from shared.models import Account, MediaJob
from tests.databases import opened
from tests.servers.postgres import Postgres
from tests.servers.process import eventually


@dataclass(frozen=True)
class LedgerDatabase:
    """A migrated database, and a folder for the processes that use it."""

    url: str
    folder: Path
    database: peewee.Database

    @contextmanager
    def verified(self) -> Iterator[None]:
        """Bind the database during a test. Afterwards every media job has ended, nothing is held, and the ledger verifies."""
        bind_database(self.database)
        yield
        eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "every job ends")
        eventually(lambda: not Account.select().where(Account.held > 0).exists(), "holds are released")
        assert verify_ledger(now_ms()).problems == ()
        database.initialize(None)


@contextmanager
def new_ledger_database(folder: Path, source: Path | Postgres) -> Iterator[LedgerDatabase]:
    """A ledger on a copy of a migrated SQLite file, or on a new database of a PostgreSQL server. Binds the database."""
    if isinstance(source, Postgres):
        url = source.create_migrated()
    else:
        shutil.copy(source, folder / "yout.db")
        url = f"sqlite:///{folder / 'yout.db'}"
    with opened(url) as target:
        bind_database(target)
        yield LedgerDatabase(url, folder, target)
        database.initialize(None)
    if isinstance(source, Postgres):
        source.drop(url)
