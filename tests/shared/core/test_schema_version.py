"""Models and migrations describe the same schema, and an unknown schema version is rejected."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.database import is_sqlite
from shared.core.errors import SchemaMismatch
from shared.core.schema_version import MIGRATIONS, RELEASE, migrate, require_current
from shared.models import MODELS
from tests.databases import opened
from tests.threads import run_threads

HISTORY = "schema_migration"  # the runner's own table, which has no model

# Column order and constraint names are ignored, because a column added by a later migration comes last in its table.
# Partitions are left out, except for keys that all of them have and their table has not: these are compared as the table's.
_PARTITIONS = """
    WITH part AS (
        SELECT inhrelid AS oid, inhparent::regclass::text AS parent, inhrelid::regclass::text AS name,
            count(*) OVER (PARTITION BY inhparent) AS number
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent WHERE relkind = 'p')"""
_POSTGRES_SCHEMA = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migration'
            AND NOT (SELECT relispartition FROM pg_class WHERE oid = table_name::regclass)""",
    "constraints": f"""
        {_PARTITIONS}
        SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'schema_migration'
            AND conrelid NOT IN (SELECT oid FROM part)
        UNION ALL SELECT parent, contype::text, pg_get_constraintdef(c.oid)
        FROM pg_constraint c JOIN part ON part.oid = conrelid
        WHERE contype = 'p' AND conparentid = 0 GROUP BY 1, 2, 3, number HAVING count(*) = number""",
    "indexes": f"""
        {_PARTITIONS}
        SELECT tablename, indexname, replace(indexdef, ' ON ONLY ', ' ON ')
        FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'schema_migration'
            AND NOT EXISTS (SELECT FROM part WHERE name = tablename)
        UNION ALL SELECT parent, replace(i.indexrelid::regclass::text, name, parent),
            replace(pg_get_indexdef(i.indexrelid), name, parent)
        FROM pg_index i JOIN part ON part.oid = i.indrelid
        WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = i.indexrelid)
        GROUP BY 1, 2, 3, number HAVING count(*) = number""",
}

Schema = dict[str, list[tuple[Any, ...]]]


def schema_of(target: peewee.Database) -> Schema:
    """Everything the database knows about its tables, except rows."""
    if is_sqlite(target):
        return sqlite_schema_of(target)
    return {what: sorted(target.execute_sql(query).fetchall(), key=repr) for what, query in _POSTGRES_SCHEMA.items()}


def sqlite_schema_of(target: peewee.Database) -> Schema:
    """The same for SQLite, which stores the text of definitions: columns added later are written differently, and last."""
    found = target.execute_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name <> 'schema_migration'"
    ).fetchall()
    tables = {name: sql for kind, name, _, sql in found if kind == "table"}
    # Without the indexes of primary keys, which have no SQL: a table WITHOUT ROWID has none. The columns name their keys.
    schema: Schema = {"indexes": [(table, name, unordered(sql)) for kind, name, table, sql in found if kind == "index" and sql]}
    for what, pragma, skip in (("columns", "table_info", 1), ("foreign keys", "foreign_key_list", 2)):
        rows = [(table, *row[skip:]) for table in tables for row in target.execute_sql(f"PRAGMA {pragma}({table})").fetchall()]
        schema[what] = rows
    schema["checks"] = [(table, check) for table, sql in tables.items() for check in checks_of(sql)]
    return {what: sorted(rows, key=repr) for what, rows in schema.items()}


def unordered(sql: str) -> str:
    """An index's definition. Columns of a unique one are sorted: their order decides where entries go, not what is unique."""
    if not sql.startswith("CREATE UNIQUE"):
        return sql
    return re.sub(r"\((.*?)\)", lambda match: f"({', '.join(sorted(match[1].split(', ')))})", sql, count=1)


def checks_of(sql: str) -> list[str]:
    """The expressions of all CHECK constraints in a definition."""
    found = []
    for match in re.finditer(r"CHECK \(", sql):
        depth, position = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[position], 0)
            position += 1
        found.append(sql[match.end() : position - 1])
    return found


def names_of(schema: Schema) -> set[str]:
    """Tables and indexes by name, to prove that a comparison was not empty."""
    return {str(value) for rows in schema.values() for row in rows for value in row[:3]}


def applied(target: peewee.Database) -> list[str]:
    return sorted(name for (name,) in target.execute_sql(f"SELECT name FROM {HISTORY}").fetchall())


FILES = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))


@pytest.mark.parametrize(
    ("any_database_url", "empty_database_url"), [("sqlite", "sqlite"), ("postgresql", "postgresql")], indirect=True
)
def test_migrations_match_the_models(any_database_url: str, empty_database_url: str) -> None:
    with opened(any_database_url) as migrated, opened(empty_database_url) as created:
        with created.bind_ctx(MODELS):
            created.create_tables(MODELS)
        from_models = schema_of(created)
        assert schema_of(migrated) == from_models
        assert names_of(from_models) >= {model._meta.table_name for model in MODELS}


def test_a_second_migration_changes_nothing(empty_database_url: str) -> None:
    with opened(empty_database_url) as target:
        assert migrate(target) == FILES
        schema = schema_of(target)
        assert migrate(target) == []
        assert schema_of(target) == schema
        assert applied(target) == FILES


def test_migrations_can_be_undone_and_reapplied(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        schema = schema_of(target)
        Runner(target, str(MIGRATIONS)).down(FILES[0])
        assert not any(schema_of(target).values())
        assert migrate(target) == FILES
        assert schema_of(target) == schema


def test_the_current_schema_is_accepted(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        require_current(target)


def test_a_pending_migration_is_rejected_with_the_command_to_run(empty_database_url: str) -> None:
    with opened(empty_database_url) as target, pytest.raises(SchemaMismatch, match=f"{FILES[0]}.*yout migrate"):
        require_current(target)


def add_newer(target: peewee.Database, name: str) -> None:
    target.execute_sql(f"INSERT INTO {HISTORY} (name, applied) VALUES ('{name}', CURRENT_TIMESTAMP)")


def test_a_newer_migration_is_accepted_unless_it_removed_what_this_release_uses(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        add_newer(target, "9998_add_future")
        add_newer(target, f"9999_drop_past_since_{RELEASE[0]}_{RELEASE[1]}")
        require_current(target)
        add_newer(target, f"9999_drop_future_since_{RELEASE[0]}_{RELEASE[1] + 1}")
        with pytest.raises(SchemaMismatch, match=f"9999_drop_future.* needs release {RELEASE[0]}.{RELEASE[1] + 1} or newer"):
            require_current(target)


def test_the_release_is_that_of_the_project() -> None:
    project = tomllib.loads((MIGRATIONS.parent / "pyproject.toml").read_text())["project"]
    assert project["version"].split(".")[:2] == [str(part) for part in RELEASE]


def test_migrations_are_numbered_without_gaps() -> None:
    assert [int(name[:4]) for name in FILES] == list(range(1, len(FILES) + 1))


def test_renumbered_migrations_are_not_applied_again(any_database_url: str) -> None:
    """A release may close gaps in the numbers; a migration is identified by the name after its number."""
    with opened(any_database_url) as target:
        schema = schema_of(target)
        target.execute_sql(f"UPDATE {HISTORY} SET name = '0099' || substr(name, 5) WHERE name >= '0008'")
        with pytest.raises(SchemaMismatch, match="yout migrate"):
            require_current(target)
        assert migrate(target) == []
        require_current(target)
        assert applied(target) == FILES
        assert schema_of(target) == schema


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("pooled", [False, True])
def test_concurrent_releases_migrate_once(pooled: bool, empty_database_url: str, request: pytest.FixtureRequest) -> None:
    url = empty_database_url
    if pooled:  # in transaction mode, a session lock would stay on one of the pooled connections
        url = request.getfixturevalue("start_pgbouncer")(pool_size=2).url(empty_database_url)
    results = run_together(4, lambda: migrate_alone(url))
    assert sorted(name for names in results for name in names) == FILES
    with opened(empty_database_url) as target:
        require_current(target)
        assert applied(target) == FILES
        assert target.execute_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def migrate_alone(url: str) -> list[str]:
    with opened(url) as target:
        return migrate(target)


def run_together(number: int, act: Callable[[], list[str]]) -> list[list[str]]:
    """Run `act` in `number` threads that start together; returns their results."""
    return run_threads(lambda _: act(), number)
