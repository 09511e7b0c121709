"""The schema's version: run the numbered migrations, and refuse to work on a schema that this code doesn't know."""

from __future__ import annotations

from pathlib import Path

import peewee
from playhouse.migrations import Runner

from shared.database import is_sqlite
from shared.errors import SchemaMismatch

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_ADVISORY_LOCK = 0x796F7574  # "yout": two releases that migrate at once run one after the other


def migrate(database: peewee.Database) -> list[str]:
    """Apply every pending migration and return their names. Safe to run twice, and on PostgreSQL from two machines at once.

    On SQLite a second run at the same moment fails without a trace of its own in the schema: run it again.
    """
    runner = Runner(database, str(MIGRATIONS))
    if is_sqlite(database):
        _renumber(runner)
        return list(runner.up())
    done: list[str] = []
    with database.connection_context():
        _renumber(runner)
        for name in [row.name for row in runner.status() if row.path and not row.applied]:
            done += _migrate_to(runner, name)
    return done


def _migrate_to(runner: Runner, name: str) -> list[str]:
    """Apply `name` unless another release has. The lock ends with the transaction; a session lock would stay on a pooler's
    connection."""
    with runner.database.atomic():
        runner.database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
        return list(runner.up(name))


def _renumber(runner: Runner) -> None:
    """Record applied migrations under the numbers that their files have now.

    A number is only the order; what follows it identifies the migration.
    """
    names = {_title(row.name): row.name for row in runner.status() if row.path}
    for applied in runner.applied():
        name = names.get(_title(applied), applied)
        if name != applied:
            runner.History.update(name=name).where(runner.History.name == applied).execute()


def _title(name: str) -> str:
    return name.partition("_")[2]


def require_current(database: peewee.Database) -> None:
    """Raise `SchemaMismatch` unless exactly the migrations of this code have been applied."""
    rows = Runner(database, str(MIGRATIONS)).status()
    pending = [row.name for row in rows if row.path and not row.applied]
    titles = {_title(row.name) for row in rows if row.path}
    unknown = [row.name for row in rows if not row.path and _title(row.name) not in titles]
    if unknown:
        raise SchemaMismatch(f"The database is newer than this code (it has {unknown[-1]}). Deploy the matching release.")
    if pending:
        raise SchemaMismatch(f"The database lacks migration {pending[0]}. Run `yout migrate` first.")
