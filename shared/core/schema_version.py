"""Database schema version: applies the numbered migrations, and rejects a schema that this code cannot run on."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import peewee

from shared.core.database import is_sqlite
from shared.core.database_errors import sqlstate
from shared.core.errors import SchemaMismatch
from shared.core.lazy_import import lazy_import

if TYPE_CHECKING:
    from playhouse import migrations
else:
    migrations = lazy_import("playhouse.migrations")  # 0.8 MB; needed only to migrate

RELEASE = (0, 9)  # major and minor version of this code, as in pyproject.toml
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_ADVISORY_LOCK = 0x796F7574  # "yout": concurrent releases migrate one after the other
_LOCK_FAILURES = ("55P03", "40P01")  # lock_not_available, deadlock_detected
LOCK_TIMEOUT_MS = 1_000  # of a migration's statement; shorter than that of calls, which wait behind it
LOCK_PAUSE_SECONDS = 1.0
LOCK_SECONDS = 600.0  # how long a migration waits for locks in total, e.g. for a backup that reads the table
_SINCE = re.compile(r"_since_(\d+)_(\d+)$")

log = logging.getLogger("yout.schema")


def migrate(database: peewee.Database) -> list[str]:
    """Apply every pending migration and return their names. Safe to repeat, and on PostgreSQL to run concurrently.

    On SQLite a concurrent run fails without changing the schema: run it again.
    """
    runner = migrations.Runner(database, str(MIGRATIONS))
    if is_sqlite(database):
        _renumber(runner)
        return list(runner.up())
    done: list[str] = []
    with database.connection_context():
        _renumber(runner)
        for name in [row.name for row in runner.status() if row.path and not row.applied]:
            done += _migrate_to(runner, name)
    return done


def _migrate_to(runner: migrations.Runner, name: str) -> list[str]:
    """Apply `name` unless another release has done so.

    A migration may have steps to `PREPARE` it, each a function of the database, which run in short transactions of their own, and
    a function `CANCEL`, which reverses them after a failure. They must be safe to repeat.
    """
    module = next(row for row in runner.status() if row.name == name).load()
    try:
        for step in getattr(module, "PREPARE", ()):
            _run_alone(runner, name, partial(step, runner.database))
        return _run_alone(runner, name, partial(runner.up, name))
    except BaseException:
        with suppress(peewee.PeeweeException):  # of a lost connection; the error that is raised says more
            if hasattr(module, "CANCEL"):
                _run_alone(runner, name, partial(module.CANCEL, runner.database))
        raise


def _run_alone(runner: migrations.Runner, name: str, step: Callable[[], list[str] | None]) -> list[str]:
    """Run `step` in a transaction, unless another release has applied `name`. Returns the names that it returns.

    The advisory lock ends with the transaction. A session lock would stay on a pooler's connection. A statement that waits for a
    table's lock makes all calls wait behind it: so it waits only shortly, and the transaction is repeated.
    """
    ends_at = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with runner.database.atomic():
                runner.database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
                if name in runner.applied():
                    return []
                runner.database.execute_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                return step() or []
        except peewee.OperationalError as error:
            if sqlstate(error) not in _LOCK_FAILURES or time.monotonic() >= ends_at:
                raise
        time.sleep(LOCK_PAUSE_SECONDS)


def _renumber(runner: migrations.Runner) -> None:
    """Record applied migrations under the current numbers of their files.

    The number is only for ordering; the rest of the name identifies the migration.
    """
    names = {_title(row.name): row.name for row in runner.status() if row.path}
    for applied in runner.applied():
        name = names.get(_title(applied), applied)
        if name != applied:
            runner.History.update(name=name).where(runner.History.name == applied).execute()


def _title(name: str) -> str:
    return name.partition("_")[2]


def require_current(database: peewee.Database) -> None:
    """Raise `SchemaMismatch` if migrations of this code are missing, or if a newer one removed something that this code uses.

    Other newer migrations are accepted, so that this release can be restarted after the next one has migrated. A migration that
    removes something ends with the first release that runs without it: `0040_drop_notes_since_0_5` (docs/migrations.md).
    """
    known = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    applied = _applied(database)
    pending = [name for name in known if name not in applied]
    titles = {_title(name) for name in known}
    newer = sorted(name for name in applied if _title(name) not in titles)
    for name in newer:
        since = first_release(name)
        if since is not None and since > RELEASE:
            raise SchemaMismatch(f"The database is newer than this code: {name} needs release {since[0]}.{since[1]} or newer.")
    if pending:
        raise SchemaMismatch(f"The database is missing the migration {pending[0]}. Run `yout migrate` first.")
    if newer:
        log.warning("the database has %d newer migrations, the last is %s; this release can run on them", len(newer), newer[-1])


def _applied(database: peewee.Database) -> set[str]:
    """Return the names of the migrations in the database, without the library that migrates."""
    if not database.table_exists("schema_migration"):
        return set()
    return {name for (name,) in database.execute_sql("SELECT name FROM schema_migration")}


def first_release(migration: str) -> tuple[int, int] | None:
    """Return the first release that can run after this migration, from its name; None if older releases can as well."""
    found = _SINCE.search(migration)
    return (int(found[1]), int(found[2])) if found else None
