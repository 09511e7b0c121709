"""The last release runs on the next schema: a migration only adds, or names the release that stopped using what it removes."""

from __future__ import annotations

import pytest
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, RELEASE, first_release
from tests.databases import opened
from tests.migrations.schema_changes import breaking_changes, read_schema

LAST_UNCHECKED = 25  # of 0.4.0, which predates the rule
# Changes that are safe although they break a rule: (migration without its number, start of the line) and the reason.
REVIEWED = {
    ("add_people", "allowance: the rule allowance_kind_check"): "the check is wider than the one that it replaces",
    ("add_payments", "payment: the rule payment_one_top_up"): "0.6 writes no top-ups",
    ("add_payments", "payment: the rule payment_unrecovered"): "0.6 leaves the columns at 0, and credits are positive",
    ("add_message_parent", "message: the rule message_check"): "the check holds for NULL, which older code leaves in `parent`",
    ("add_conversation_chosen_id", "conversation: the rule conversation_by_public_id"): (
        "0.7 leaves `chosen_id` empty, and `id` is unique; it fails only to create a conversation that 0.8 created meanwhile"
    ),
    **{
        ("partition_by_month", f"ledger_entry: the unique key ledger_entry_{key} is gone"): (
            "each partition has it, and no code of 0.5 names it in ON CONFLICT"
        )
        for key in ("pkey", "once_a_call")
    },
}


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_each_migration_leaves_the_last_release_running(empty_database_url: str) -> None:
    found = {}
    with opened(empty_database_url) as target:
        runner = Runner(target, str(MIGRATIONS))
        names = [row.name for row in runner.status()]
        runner.up(names[LAST_UNCHECKED - 1])
        before = read_schema(target)
        for name in names[LAST_UNCHECKED:]:
            runner.up(name)
            after = read_schema(target)
            changes = [line for line in breaking_changes(before, after) if not reviewed(name, line)]
            if changes and first_release(name) is None:
                found[name] = changes
            before = after
    assert found == {}, "see docs/migrations.md: add first, and remove in the release after the one that stopped using it"


def reviewed(migration: str, line: str) -> bool:
    title = migration.partition("_")[2]
    return any(name == title and line.startswith(start) for name, start in REVIEWED)


def test_a_migration_removes_only_what_a_released_version_stopped_using() -> None:
    since = {path.stem: first_release(path.stem) for path in MIGRATIONS.glob("[0-9]*.py")}
    assert {name: release for name, release in since.items() if release is not None and release > RELEASE} == {}


NOTES = """
    CREATE TABLE note (id int PRIMARY KEY, title varchar(100) NOT NULL, body text, slug text,
        kind text NOT NULL DEFAULT 'a', size int NOT NULL CHECK (size >= 0));
    CREATE UNIQUE INDEX note_slug ON note (slug)"""
HARMLESS = (
    "ALTER TABLE note ADD COLUMN color text",
    "ALTER TABLE note ADD COLUMN stars int NOT NULL DEFAULT 0 CHECK (stars >= 0)",
    "CREATE TABLE label (id int PRIMARY KEY, note int NOT NULL REFERENCES note)",
    "ALTER TABLE note DROP CONSTRAINT note_size_check",
    "ALTER TABLE note ALTER COLUMN title TYPE varchar(200)",
    "ALTER TABLE note ALTER COLUMN size DROP NOT NULL",
    "CREATE INDEX note_by_size ON note (size)",
)
BREAKING = {
    "ALTER TABLE note ADD COLUMN stars int NOT NULL": "note.stars is new, required, and has no default",
    "ALTER TABLE note DROP COLUMN body": "note.body is gone",
    "ALTER TABLE note RENAME COLUMN body TO content": "note.body is gone",
    "ALTER TABLE note RENAME TO memo": "table note is gone",
    "ALTER TABLE note ALTER COLUMN title TYPE varchar(10)": "note.title has another type",
    "ALTER TABLE note ALTER COLUMN body TYPE bytea USING body::bytea": "note.body has another type",
    "ALTER TABLE note ALTER COLUMN body SET NOT NULL": "note.body became required",
    "ALTER TABLE note ALTER COLUMN kind DROP DEFAULT": "note.kind lost its default",
    "DROP INDEX note_slug": "note: the unique key note_slug is gone, which ON CONFLICT may name",
    "CREATE UNIQUE INDEX note_title ON note (title)": (
        "note: the rule note_title is new for existing columns: CREATE UNIQUE INDEX note_title ON public.note USING btree (title)"
    ),
    "ALTER TABLE note ADD CONSTRAINT small CHECK (size < 9)": (
        "note: the rule small is new for existing columns: CHECK ((size < 9))"
    ),
}


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_what_breaks_running_code(empty_database_url: str) -> None:
    with opened(empty_database_url) as target:
        target.execute_sql(NOTES)
        before = read_schema(target)
        found = {}
        for statement in (*HARMLESS, *BREAKING):
            with target.atomic() as transaction:
                target.execute_sql(statement)
                found[statement] = breaking_changes(before, read_schema(target))
                transaction.rollback()
    assert found == {**{statement: [] for statement in HARMLESS}, **{statement: [line] for statement, line in BREAKING.items()}}
