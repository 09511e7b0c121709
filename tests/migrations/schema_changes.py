"""Finds schema changes that could break a process of the last release, from PostgreSQL's catalog before and after a migration."""

from __future__ import annotations

from typing import Any, NamedTuple

import peewee

_COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable = 'YES', column_default IS NOT NULL
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migration'
        AND NOT (SELECT relispartition FROM pg_class WHERE oid = table_name::regclass)"""
_CONSTRAINTS = """
    SELECT c.conrelid::regclass::text, c.conname, c.contype::text, pg_get_constraintdef(c.oid),
        ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))
    FROM pg_constraint c WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('c', 'f', 'p', 'u')"""
_UNIQUE_INDEXES = """
    SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, 'u', pg_get_indexdef(i.indexrelid),
        ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = 'public'::regnamespace AND i.indisunique
        AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)"""


class Column(NamedTuple):
    type: str
    length: int | None
    nullable: bool
    has_default: bool


class Rule(NamedTuple):
    """A constraint or a unique index: its kind (`c`, `f`, `p`, `u`), its definition and the columns that it reads."""

    kind: str
    definition: str
    columns: frozenset[str]


class Schema(NamedTuple):
    """`columns` by table and name, `rules` by table and name."""

    columns: dict[tuple[str, str], Column]
    rules: dict[tuple[str, str], Rule]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def read_schema(database: peewee.Database) -> Schema:
    columns = {(row[0], row[1]): Column(*row[2:]) for row in database.execute_sql(_COLUMNS).fetchall()}
    rows: list[tuple[Any, ...]] = [
        row for query in (_CONSTRAINTS, _UNIQUE_INDEXES) for row in database.execute_sql(query).fetchall()
    ]
    return Schema(columns, {(row[0], row[1]): Rule(row[2], row[3], frozenset(row[4])) for row in rows})


def breaking_changes(before: Schema, after: Schema) -> list[str]:
    """Return the changes from `before` to `after` that could break code written for `before`, one line each.

    New tables, columns that are optional or have a default, dropped checks and rules of new columns break nothing.
    """
    found = [f"table {table} is gone" for table in sorted(before.tables - after.tables)]
    kept = before.tables & after.tables
    for (table, name), column in sorted(before.columns.items()):
        if table in kept:
            found += _column_changes(f"{table}.{name}", column, after.columns.get((table, name)))
    for (table, name), column in sorted(after.columns.items()):
        if table in kept and (table, name) not in before.columns and not (column.nullable or column.has_default):
            found.append(f"{table}.{name} is new, required, and has no default")
    for (table, name), rule in sorted(before.rules.items()):
        if table in kept and rule.kind in "pu" and rule not in _rules_of(after, table):
            found.append(f"{table}: the unique key {name} is gone, which ON CONFLICT may name")
    for (table, name), rule in sorted(after.rules.items()):
        old_columns = {column for owner, column in before.columns if owner == table}
        if table in kept and rule not in _rules_of(before, table) and rule.columns & old_columns:
            found.append(f"{table}: the rule {name} is new for existing columns: {rule.definition}")
    return found


def _column_changes(name: str, old: Column, new: Column | None) -> list[str]:
    if new is None:
        return [f"{name} is gone"]
    found = []
    if new.type != old.type or (new.length or 1 << 30) < (old.length or 1 << 30):
        found.append(f"{name} has another type")
    if old.nullable and not new.nullable:
        found.append(f"{name} became required")
    if old.has_default and not new.has_default and not new.nullable:
        found.append(f"{name} lost its default")
    return found


def _rules_of(schema: Schema, table: str) -> set[Rule]:
    return {rule for (owner, _), rule in schema.rules.items() if owner == table}
